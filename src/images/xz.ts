// The xz program as a stream: in a sandbox, with little memory, killed when it is no longer wanted.

import { spawn } from "node:child_process";
import type { Readable, Writable } from "node:stream";
import { SYSTEM_PATH } from "../lib/spawn.ts";
import { VmletError } from "../model/failure.ts";
import { isSandboxFailure, SANDBOX_PACKAGES, sandboxed } from "./sandbox.ts";

/** `xz -9` needs 65 MiB to unpack; the dictionary could be told to be 4 GiB. */
const MEMORY_MIB = 256;
const ADDRESS_SPACE_BYTES = 1024 ** 3;
const MAX_STDERR_BYTES = 4096;

export interface XzStream extends AsyncDisposable {
  /** For packed bytes. */
  readonly input: Writable;
  /** Plain ones. */
  readonly output: Readable;
  /** Waits for the program's end. @throws what `refuse` makes when it did not like its input; TOOL_FAILED. */
  end(): Promise<void>;
}

/** @param refuse Makes a failure of what was found. */
export function spawnXz(refuse: (finding: string) => Error, signal: AbortSignal): XzStream {
  signal.throwIfAborted();
  const tool = ["xz", "--decompress", "--stdout", "--format=xz", "--threads=1", `--memlimit=${MEMORY_MIB}MiB`];
  const [file, ...args] = sandboxed(tool, { memoryBytes: ADDRESS_SPACE_BYTES });
  const child = spawn(file, args, {
    env: { PATH: SYSTEM_PATH, LC_ALL: "C.UTF-8" },
    cwd: "/",
    detached: true, // its own process group: nothing that is sent to the daemon's reaches it
    stdio: ["pipe", "pipe", "pipe"],
  });
  const { promise: ended, resolve } = Promise.withResolvers<number | string>();
  child.once("error", (error) => resolve(error.message));
  child.once("close", (code, name) => resolve(code ?? name ?? "unknown"));
  let said = "";
  child.stderr.on("data", (piece: Buffer) => {
    said = (said + piece.toString()).slice(0, MAX_STDERR_BYTES);
  });
  const kill = (): void => void child.kill("SIGKILL");
  signal.addEventListener("abort", kill, { once: true });
  return {
    input: child.stdin,
    output: child.stdout,
    end: async () => {
      const code = await ended;
      signal.throwIfAborted();
      if (code === 0) return;
      const why = said.split("\n")[0]?.slice(0, 300) ?? "";
      if (typeof code === "number" && !isSandboxFailure(code, said)) throw refuse(`is broken xz data (${why})`);
      throw new VmletError(
        { code: "TOOL_FAILED", tool: "xz", exitCode: typeof code === "number" ? code : null },
        `xz cannot be run (${why || code}); install xz-utils, ${SANDBOX_PACKAGES}`,
      );
    },
    [Symbol.asyncDispose]: async () => {
      signal.removeEventListener("abort", kill);
      kill();
      await ended;
    },
  };
}
