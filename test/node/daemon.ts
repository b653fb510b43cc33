// The daemon of a node: starts it, waits until it answers, stops or kills it.

import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { VersionRequest } from "../../src/gen/runtime.ts";
import { connectCri } from "./cri-client.ts";
import { type NodeLayout, REPO_PATH } from "./layout.ts";
import { poll } from "./poll.ts";
import { pidOf, startInBackground, stopByPidFile } from "./process.ts";

/**
 * Resolves with its pid once it answers Version. Rejects with the end of its log when it ends or stays mute.
 * @param layout `checkoutPath`: whose daemon; this checkout's when absent.
 */
export async function startDaemon(
  layout: NodeLayout & { readonly checkoutPath?: string },
  signal: AbortSignal,
): Promise<number> {
  const program = join(layout.checkoutPath ?? REPO_PATH, "bin/vmlet");
  const argv = [program, "serve", "--config", layout.configPath] as const;
  const pid = await startInBackground(argv, { pidPath: pidPathOf(layout), logPath: layout.daemonLogPath });
  try {
    await poll(
      async () => ((await isGone(pid)) ? "gone" : (await answers(layout, signal)) ? "ready" : undefined),
      {
        what: "an answer of the daemon",
        limitMs: 60_000,
      },
      signal,
    ).then((state) => {
      if (state === "gone") throw new Error("the daemon ended at once");
    });
  } catch (error) {
    await stopByPidFile(pidPathOf(layout), layout.configPath, AbortSignal.timeout(30_000));
    const tail = (await readFile(layout.daemonLogPath, "utf8").catch(() => ""))
      .trimEnd()
      .split("\n")
      .slice(-12)
      .map((row) => row.slice(0, 400))
      .join("\n");
    throw new Error(
      `${error instanceof Error ? error.message : String(error)}; the end of ${layout.daemonLogPath}:\n${tail}`,
      {
        cause: error,
      },
    );
  }
  return pid;
}

export async function answers(layout: NodeLayout, signal: AbortSignal): Promise<boolean> {
  using client = connectCri(layout.socketPath);
  const soon = AbortSignal.any([signal, AbortSignal.timeout(2_000)]);
  return await client.runtime.version(VersionRequest.fromPartial({}), soon).then(
    () => true,
    () => false,
  );
}

export const daemonPid = (layout: NodeLayout): Promise<number | undefined> =>
  pidOf(pidPathOf(layout), layout.configPath);

export const stopDaemon = (layout: NodeLayout, signal: AbortSignal): Promise<void> =>
  stopByPidFile(pidPathOf(layout), layout.configPath, signal);

/** kill -9; resolves when it is gone. */
export async function killDaemon(layout: NodeLayout, signal: AbortSignal): Promise<void> {
  const pid = await daemonPid(layout);
  if (pid === undefined) throw new Error("no daemon to kill");
  process.kill(pid, "SIGKILL");
  await poll(
    async () => ((await isGone(pid)) ? true : undefined),
    { what: "end of the daemon", limitMs: 60_000, everyMs: 10 },
    signal,
  );
}

const pidPathOf = (layout: NodeLayout): string => join(layout.runFolderPath, "daemon.pid");

async function isGone(pid: number): Promise<boolean> {
  const stat = await readFile(`/proc/${pid}/stat`, "utf8").catch(() => "");
  return stat === "" || /\) [ZX]/.test(stat);
}
