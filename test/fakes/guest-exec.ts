// GuestExec whose guest is this machine: a command is a child process. It has no terminal; sizes are only remembered.

import { spawn } from "node:child_process";
import { constants } from "node:os";
import type { Readable, Writable } from "node:stream";
import { pipeline } from "node:stream/promises";
import { errorCodeOf } from "../../src/lib/error-code.ts";
import type { GuestCommand, GuestExec, GuestStreams, GuestTarget, TerminalSize } from "../../src/ports/guest-exec.ts";

export class FakeGuestExec implements GuestExec {
  readonly sizes: TerminalSize[] = [];
  /** Commands that run now. */
  running = 0;

  async run(
    _target: GuestTarget,
    { argv: [file = "", ...args], limitMs }: GuestCommand,
    streams: GuestStreams,
    asked: AbortSignal,
  ): Promise<number> {
    asked.throwIfAborted();
    const signal = limitMs === undefined ? asked : AbortSignal.any([asked, AbortSignal.timeout(limitMs)]);
    const child = spawn(file, args, { stdio: ["pipe", "pipe", "pipe"], detached: true });
    const kill = (): void => void (child.pid !== undefined && process.kill(-child.pid, "SIGKILL"));
    signal.addEventListener("abort", kill, { once: true });
    this.running += 1;
    const { sizes } = streams;
    if (sizes?.latest !== undefined) this.sizes.push(sizes.latest);
    sizes?.listen((size) => void this.sizes.push(size));
    try {
      const { promise: ended, resolve, reject } = Promise.withResolvers<number>();
      child.once("error", (error) => (errorCodeOf(error) === "ENOENT" ? resolve(127) : reject(error)));
      child.once("exit", (code, name) => resolve(code ?? 128 + (name === null ? 0 : constants.signals[name])));
      const outputs = [copy(child.stdout, streams.stdout), copy(child.stderr, streams.stderr)];
      child.stdin.on("error", () => {}); // a command may leave its input unread
      if (streams.stdin === undefined) child.stdin.end();
      else streams.stdin.pipe(child.stdin);
      const exitCode = await ended;
      streams.stdin?.unpipe(child.stdin);
      await Promise.all(outputs);
      signal.throwIfAborted();
      return exitCode;
    } finally {
      this.running -= 1;
      signal.removeEventListener("abort", kill);
    }
  }
}

async function copy(from: Readable, to: Writable | undefined): Promise<void> {
  if (to === undefined) from.resume();
  else await pipeline(from, to).catch(() => {}); // its reader went away
}
