// Runs one foreign program to its end: argv only, explicit environment, own process group, bounded output.

import { spawn } from "node:child_process";

/** What a finished program left behind. `stdout` and `stderr` are cut at the cap; `truncated` says so. */
export interface Finished {
  readonly exitCode: number | null;
  readonly signalName: NodeJS.Signals | null;
  readonly stdout: Buffer;
  readonly stderr: string;
  readonly truncated: boolean;
}

interface RunOptions {
  /** The whole environment; nothing is inherited. PATH defaults to the system's. */
  readonly env?: Readonly<Record<string, string>>;
  readonly stdin?: string | Uint8Array;
  readonly cwd?: string;
  /** Bytes kept of each output stream. */
  readonly maxOutputBytes?: number;
  /** Kills it when it prints more than that, instead of reading on. */
  readonly endAtMaxOutput?: boolean;
}

export type Run = (
  file: string,
  args: readonly string[],
  options: RunOptions,
  signal: AbortSignal,
) => Promise<Finished>;

/** Where system tools live when nothing else is said. */
export const SYSTEM_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

const MAX_OUTPUT_BYTES = 1 << 20;
/** How long output may still come after the program's end. */
const PIPE_GRACE_MS = 1_000;

/**
 * Runs `file` with `args`; never a shell. Resolves with any exit status.
 * Abort kills the whole process group, waits for its end, then rejects with the signal's reason.
 */
export const run: Run = async (file, args, options, signal) => {
  signal.throwIfAborted();
  const cap = options.maxOutputBytes ?? MAX_OUTPUT_BYTES;
  const child = spawn(file, [...args], {
    env: { PATH: SYSTEM_PATH, LC_ALL: "C.UTF-8", ...options.env },
    cwd: options.cwd ?? "/",
    detached: true, // its own process group, so that a kill reaches grandchildren
    stdio: ["pipe", "pipe", "pipe"],
  });
  const kill = (): void => {
    if (child.pid === undefined) return;
    try {
      process.kill(-child.pid, "SIGKILL");
    } catch {
      // ESRCH: it ended by itself in between.
    }
  };
  signal.addEventListener("abort", kill, { once: true });
  try {
    const onMore = options.endAtMaxOutput === true ? kill : () => {};
    const stdout = collect(child.stdout, cap, onMore);
    const stderr = collect(child.stderr, cap, onMore);
    child.stdin.on("error", () => {}); // a program may exit without reading what we offer
    child.stdin.end(options.stdin ?? "");
    const { promise: closed, resolve, reject } = Promise.withResolvers<[number | null, NodeJS.Signals | null]>();
    child.on("error", reject);
    child.on("exit", () => {
      // A daemon that it left behind may hold our pipes for ever: what is in them by now is what it printed.
      const letGo = (): void => void [child.stdout.destroy(), child.stderr.destroy()];
      setTimeout(letGo, signal.aborted ? 0 : PIPE_GRACE_MS).unref();
    });
    child.on("close", (code, signalName) => resolve([code, signalName]));
    const [exitCode, signalName] = await closed;
    signal.throwIfAborted();
    return {
      exitCode,
      signalName,
      stdout: stdout.bytes(),
      stderr: stderr.bytes().toString("utf8"),
      truncated: stdout.truncated() || stderr.truncated(),
    };
  } finally {
    signal.removeEventListener("abort", kill);
  }
};

function collect(
  stream: NodeJS.ReadableStream,
  capBytes: number,
  onMore: () => void,
): { bytes: () => Buffer; truncated: () => boolean } {
  const chunks: Buffer[] = [];
  let kept = 0;
  let total = 0;
  stream.on("data", (chunk: Buffer) => {
    total += chunk.length;
    if (total > capBytes) onMore();
    if (kept >= capBytes) return;
    const part = chunk.subarray(0, capBytes - kept);
    chunks.push(part);
    kept += part.length;
  });
  return { bytes: () => Buffer.concat(chunks), truncated: () => total > kept };
}
