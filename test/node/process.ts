// Background programs that are known by a pid file, and stopped only if the pid is still theirs.

import { spawn } from "node:child_process";
import { closeSync, openSync } from "node:fs";
import { readFile, rm, writeFile } from "node:fs/promises";
import { poll } from "./poll.ts";

export interface Background {
  readonly pidPath: string;
  readonly logPath: string;
}

/** Starts it in a session of its own, appending its output to the log. Resolves with its pid. */
export async function startInBackground(
  argv: readonly [string, ...string[]],
  { pidPath, logPath }: Background,
): Promise<number> {
  const [file, ...args] = argv;
  const log = openSync(logPath, "a");
  try {
    const child = spawn(file, args, { detached: true, stdio: ["ignore", log, log], cwd: "/" });
    const { promise: spawned, resolve, reject } = Promise.withResolvers<void>();
    child.once("error", reject).once("spawn", () => resolve());
    await spawned;
    if (child.pid === undefined) throw new Error(`${file}: has no pid`);
    child.unref();
    await writeFile(pidPath, `${child.pid}\n`);
    return child.pid;
  } finally {
    closeSync(log);
  }
}

/** The pid in the file, if such a process lives and `mark` is in its command line. */
export async function pidOf(pidPath: string, mark: string): Promise<number | undefined> {
  const pid = Number(await readFile(pidPath, "utf8").catch(() => ""));
  if (!Number.isSafeInteger(pid) || pid <= 1) return undefined;
  const commandLine = await readFile(`/proc/${pid}/cmdline`, "utf8").catch(() => "");
  return commandLine.replaceAll("\0", " ").includes(mark) ? pid : undefined;
}

/** SIGTERM, then SIGKILL when the limit has passed; resolves when the process is gone. */
export async function stop(pid: number, limitMs: number, signal: AbortSignal): Promise<void> {
  sendSignal(pid, "SIGTERM");
  try {
    await gone(pid, limitMs, signal);
  } catch {
    sendSignal(pid, "SIGKILL");
    await gone(pid, 10_000, signal);
  }
}

/** Stops what the pid file names, if it is still that, and removes the file. */
export async function stopByPidFile(pidPath: string, mark: string, signal: AbortSignal): Promise<void> {
  const pid = await pidOf(pidPath, mark);
  if (pid !== undefined) await stop(pid, 20_000, signal);
  await rm(pidPath, { force: true });
}

function sendSignal(pid: number, name: NodeJS.Signals): void {
  try {
    process.kill(pid, name);
  } catch {
    // ESRCH: it ended by itself.
  }
}

async function gone(pid: number, limitMs: number, signal: AbortSignal): Promise<void> {
  const isGone = async (): Promise<true | undefined> => {
    // A zombie is gone too: its parent, perhaps we, has not asked yet.
    const stat = await readFile(`/proc/${pid}/stat`, "utf8").catch(() => "");
    return stat === "" || /\) [ZX]/.test(stat) ? true : undefined;
  };
  await poll(isGone, { what: `end of process ${pid}`, limitMs, everyMs: 20 }, signal);
}
