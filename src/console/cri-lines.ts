// Turns console bytes into CRI log lines: `<RFC3339Nano> stdout <P|F> <content>\n`.
//
// Pure: what could not be written yet (an unfinished line, a CR whose LF may follow) is simply not consumed and is given
// again, with more behind it. So no state but an offset has to survive a restart.

/** When may an unfinished line be written? `waiting`: not yet. `idle`: now, but for a last CR. `ended`: all of it. */
export type Flush = "waiting" | "idle" | "ended";

export interface EncodeOptions {
  readonly nowMs: number;
  /** Longer lines are split into P pieces. containerd and the kubelet use 16 KiB. */
  readonly maxLineBytes: number;
  readonly flush: Flush;
}

export interface Encoded {
  readonly log: Buffer;
  /** Bytes of the input that `log` stands for. */
  readonly consumedBytes: number;
  /** Whether the last line written is a P, so that the next one continues it; undefined when none was written. */
  readonly isLineOpen: boolean | undefined;
}

const LF = 10;
const CR = 13;
const END = Buffer.from("\n");

/** A terminal ends lines by CR LF: one CR before LF is dropped. All other bytes are kept as they are. */
export function encodeLines(bytes: Buffer, { nowMs, maxLineBytes, flush }: EncodeOptions): Encoded {
  const stamp = rfc3339Nano(nowMs);
  const full = Buffer.from(`${stamp} stdout F `);
  const partial = Buffer.from(`${stamp} stdout P `);
  const log = new GrowingBuffer(bytes.length * 2);
  let at = 0;
  let isLineOpen: boolean | undefined;
  const emit = (end: number, head: Buffer): void => {
    log.append(head, bytes.subarray(at, end), END);
    at = end;
    isLineOpen = head === partial;
  };
  for (let newline = bytes.indexOf(LF); newline !== -1; newline = bytes.indexOf(LF, at)) {
    const contentEnd = newline > at && bytes[newline - 1] === CR ? newline - 1 : newline;
    while (contentEnd - at > maxLineBytes) emit(at + maxLineBytes, partial);
    emit(contentEnd, full);
    at = newline + 1;
  }
  const beforeCr = (end: number): number => (bytes[end - 1] === CR ? end - 1 : end);
  while (bytes.length - at > maxLineBytes) emit(beforeCr(at + maxLineBytes), partial);
  const rest = flush === "ended" ? bytes.length : beforeCr(bytes.length);
  if (flush !== "waiting" && rest > at) emit(rest, partial);
  return { log: log.whole(), consumedBytes: at, isLineOpen };
}

/** A line of our own in the log, on a line of its own. */
export function markerLine(text: string, { nowMs, closesLine }: { nowMs: number; closesLine: boolean }): Buffer {
  const stamp = rfc3339Nano(nowMs);
  return Buffer.from(`${closesLine ? `${stamp} stdout F \n` : ""}${stamp} stdout F [vmlet: ${text}]\n`);
}

/** Concatenates as it goes: a flood of short lines is too many pieces to keep. */
class GrowingBuffer {
  #bytes: Buffer;
  #length = 0;

  constructor(capacityBytes: number) {
    this.#bytes = Buffer.allocUnsafe(capacityBytes);
  }

  append(...pieces: readonly Buffer[]): void {
    for (const piece of pieces) {
      while (this.#length + piece.length > this.#bytes.length) this.#grow();
      this.#bytes.set(piece, this.#length);
      this.#length += piece.length;
    }
  }

  whole(): Buffer {
    return this.#bytes.subarray(0, this.#length);
  }

  #grow(): void {
    const larger = Buffer.allocUnsafe(Math.max(1024, this.#bytes.length * 2));
    larger.set(this.whole());
    this.#bytes = larger;
  }
}

/** UTC with nine digits. */
function rfc3339Nano(nowMs: number): string {
  return `${new Date(nowMs).toISOString().slice(0, -1)}000000Z`;
}
