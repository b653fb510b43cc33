// What is sent of a stream: in its order, as fast as the peer's windows let it.

import { ChunkQueue } from "../../lib/chunk-queue.ts";
import type { Headers } from "./hpack.ts";

/** With more than this not sent yet, its writer should wait. */
const MUCH_BYTES = 1 << 16;

/** How a stream's frames get onto its connection. */
export interface Carrier {
  /** How many bytes may go now, in one frame and as far as the connection is concerned; 0: `pump` is called when more may. */
  readonly roomBytes: () => number;
  readonly sendHeaders: (headers: Headers, isLast: boolean) => void;
  readonly sendBytes: (bytes: Buffer, isLast: boolean) => void;
}

export class Outgoing {
  readonly #carrier: Carrier;
  /** What is next, and was begun maybe; the others wait behind it. */
  #next: Buffer | undefined;
  #chunks = new ChunkQueue();
  #heldBytes = 0;
  #windowBytes: number;
  #isEnding = false;
  #trailers: Headers | undefined;
  #hasEnded = false;
  #failure: Error | undefined;
  /** Those who wait in `drained`: events of two runtimes are written to one stream. */
  readonly #waiting = new Set<() => void>();

  constructor(windowBytes: number, carrier: Carrier) {
    this.#windowBytes = windowBytes;
    this.#carrier = carrier;
  }

  get hasEnded(): boolean {
    return this.#hasEnded;
  }

  /** Whether some of it waits for the peer. */
  get isHeldUp(): boolean {
    return this.#heldBytes > 0;
  }

  /** First, and once. `isLast`: there is nothing else. */
  begin(headers: Headers, { isLast }: { readonly isLast: boolean } = { isLast: false }): void {
    if (this.#isOver) return;
    this.#hasEnded = isLast;
    this.#carrier.sendHeaders(headers, isLast);
  }

  /** Never waits; whoever has more asks `drained` first. */
  write(bytes: Buffer): void {
    if (this.#isOver || bytes.length === 0) return;
    this.#chunks.push(bytes);
    this.#heldBytes += bytes.length;
    if (this.#heldBytes === bytes.length) this.pump();
  }

  /** After all that was written. */
  end(trailers?: Headers): void {
    if (this.#isOver || this.#isEnding) return;
    this.#isEnding = true;
    this.#trailers = trailers;
    if (this.#heldBytes === 0) this.#finish();
  }

  /** Resolves when not much waits for the peer. @throws what it failed with; the signal's reason */
  async drained(signal: AbortSignal): Promise<void> {
    while (this.#heldBytes > MUCH_BYTES || this.#failure !== undefined) {
      signal.throwIfAborted();
      if (this.#failure !== undefined) throw this.#failure;
      const { promise, resolve } = Promise.withResolvers<void>();
      this.#waiting.add(resolve);
      signal.addEventListener("abort", resolve as () => void, { once: true });
      await promise;
      this.#waiting.delete(resolve);
      signal.removeEventListener("abort", resolve as () => void);
    }
  }

  /** The peer lets us send so much more, or less. @returns false when that is more than can be. */
  widen(bytes: number): boolean {
    this.#windowBytes += bytes;
    if (this.#windowBytes > MAX_WINDOW_BYTES) return false;
    this.pump();
    return true;
  }

  /** Sends what may be sent. */
  pump(): void {
    for (;;) {
      const chunk = this.#next ?? this.#chunks.take();
      this.#next = chunk;
      if (chunk === undefined) break;
      const bytes = Math.min(chunk.length, this.#windowBytes, this.#carrier.roomBytes());
      if (bytes <= 0) break;
      this.#next = bytes === chunk.length ? undefined : chunk.subarray(bytes);
      this.#heldBytes -= bytes;
      this.#windowBytes -= bytes;
      const isLast = this.#isEnding && this.#trailers === undefined && this.#heldBytes === 0;
      this.#hasEnded = isLast;
      this.#carrier.sendBytes(chunk.subarray(0, bytes), isLast);
    }
    if (this.#isEnding && !this.#hasEnded && this.#heldBytes === 0) this.#finish();
    if (this.#heldBytes <= MUCH_BYTES) this.#wake();
  }

  fail(error: Error): void {
    this.#failure ??= error;
    this.#next = undefined;
    this.#chunks = new ChunkQueue();
    this.#wake();
  }

  get #isOver(): boolean {
    return this.#hasEnded || this.#failure !== undefined;
  }

  #wake(): void {
    for (const resolve of this.#waiting) resolve();
    this.#waiting.clear();
  }

  #finish(): void {
    this.#hasEnded = true;
    if (this.#trailers === undefined) this.#carrier.sendBytes(NOTHING, true);
    else this.#carrier.sendHeaders(this.#trailers, true);
  }
}

const MAX_WINDOW_BYTES = 0x7fffffff;
const NOTHING = Buffer.alloc(0);
