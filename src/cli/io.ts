// Where a command reads and writes.

import { errorCodeOf } from "../lib/error-code.ts";
import { escapeInvisible } from "../lib/printable.ts";
import { stopSignal } from "../lib/stop-signal.ts";

export interface Io {
  readonly stdin: NodeJS.ReadableStream;
  readonly stdout: Out;
  readonly stderr: Out;
  /** Ends with the first stop signal. */
  readonly signal: AbortSignal;
}

/** The process's own. Stop signals are caught from when a command first asks for `signal`. */
export function terminalIo(): Io {
  const { stdin, stdout, stderr } = process;
  let stop: AbortSignal | undefined;
  return {
    stdin,
    stdout,
    stderr,
    get signal() {
      // `vmlet images | head`: the reader has enough, and that is no failure to speak of.
      if (stop === undefined) stdout.on("error", (error) => process.exit(errorCodeOf(error) === "EPIPE" ? 141 : 1));
      stop ??= stopSignal(() => {});
      return stop;
    },
  };
}

/** With `isTTY` and `columns` where it is a terminal. */
export type Out = NodeJS.WritableStream & { readonly isTTY?: boolean; readonly columns?: number };

/** For programs; safe to look at, too. Bytes and times become numbers. */
export function json(value: unknown, indent?: number): string {
  const plain = (_key: string, item: unknown): unknown => (typeof item === "bigint" ? Number(item) : item);
  return `${escapeInvisible(JSON.stringify(value, plain, indent))}\n`;
}
