// One stream of a SPDY connection, as a Duplex: ending it sends FIN, destroying it sends RST_STREAM.

import { Duplex } from "node:stream";
import type { Headers } from "./headers.ts";

/** What the connection does for its streams. */
export interface StreamCarrier {
  /** `done` when the bytes are the system's, and their memory the caller's again. */
  sendData(streamId: number, bytes: Buffer, done: (error?: Error | null) => void): void;
  sendFin(streamId: number, done: (error?: Error | null) => void): void;
  /** `wasClean`: both sides had ended it. */
  forget(stream: SpdyStream, end: { readonly wasClean: boolean }): void;
  /** What was received and not read yet has changed by this much. */
  bufferedChanged(bytes: number): void;
}

/** What is handed on at once. */
const PIECE_BYTES = 64 << 10;
/** What a piece takes beside its bytes, so that a flood of tiny ones counts for what it is. */
const PIECE_OVERHEAD_BYTES = 512;
/** A piece of less than this share of the memory that it lies in is copied out of it, or would keep all of it. */
const MIN_SHARE = 1 / 4;

export class SpdyStream extends Duplex {
  readonly streamId: number;
  readonly headers: Headers;
  readonly #carrier: StreamCarrier;
  #queue: Buffer[] = [];
  #queuedBytes = 0;
  #isRemoteEnded = false;
  #wantsMore = false;

  constructor(streamId: number, headers: Headers, carrier: StreamCarrier) {
    // Node counts the bytes of what is read and waits, not the pieces: so no more than one waits there, the others in our queue.
    super({ readableHighWaterMark: 1, writableHighWaterMark: PIECE_BYTES });
    this.streamId = streamId;
    this.headers = headers;
    this.#carrier = carrier;
    this.on("error", () => {}); // whoever uses it hears of it by its own listener, or does not care
  }

  /** Received and not read yet, with what it costs to keep. */
  get queuedBytes(): number {
    return this.#queuedBytes;
  }

  /** From the connection: bytes that came. */
  receive(received: Buffer): void {
    if (this.#isRemoteEnded || this.destroyed || received.length === 0) return;
    const bytes = received.length < received.buffer.byteLength * MIN_SHARE ? copyOf(received) : received;
    if (this.#wantsMore) {
      this.#wantsMore = this.push(bytes);
      return;
    }
    this.#queue.push(bytes);
    this.#account(bytes.length + PIECE_OVERHEAD_BYTES);
  }

  /** From the connection: nothing more will come. */
  receiveEnd(): void {
    this.#isRemoteEnded = true;
    if (this.#queue.length === 0 && !this.destroyed) this.push(null);
  }

  override _read(): void {
    if (this.#queue.length === 0) {
      if (this.#isRemoteEnded) this.push(null);
      else this.#wantsMore = true;
      return;
    }
    let bytes = 0;
    let count = 0;
    while (count < this.#queue.length && bytes < PIECE_BYTES) bytes += this.#queue[count++]?.length ?? 0;
    const pieces = this.#queue.splice(0, count);
    this.#wantsMore = false;
    this.push(pieces.length === 1 ? pieces[0] : Buffer.concat(pieces, bytes));
    this.#account(-(bytes + pieces.length * PIECE_OVERHEAD_BYTES));
    if (this.#queue.length === 0 && this.#isRemoteEnded) this.push(null);
  }

  override _write(chunk: Buffer, _encoding: BufferEncoding, done: (error?: Error | null) => void): void {
    this.#carrier.sendData(this.streamId, chunk, done);
  }

  override _final(done: (error?: Error | null) => void): void {
    this.#carrier.sendFin(this.streamId, done);
  }

  override _destroy(error: Error | null, done: (error?: Error | null) => void): void {
    this.#queue = [];
    this.#account(-this.#queuedBytes);
    this.#carrier.forget(this, { wasClean: this.#isRemoteEnded && this.writableFinished });
    done(error);
  }

  #account(change: number): void {
    this.#queuedBytes += change;
    this.#carrier.bufferedChanged(change);
  }
}

/** Not Buffer.from, which would take a small one out of memory that others keep, too. */
function copyOf(bytes: Buffer): Buffer {
  const copy = Buffer.allocUnsafeSlow(bytes.length);
  bytes.copy(copy);
  return copy;
}
