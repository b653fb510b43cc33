// What comes of a stream: headers, bytes, trailers; read at its reader's pace.

import { ChunkQueue } from "../../lib/chunk-queue.ts";
import type { Headers } from "./hpack.ts";

/** What a peer may send before it is read. */
export const WINDOW_BYTES = 1 << 18;

export class Incoming {
  readonly #onRead: (bytes: number) => void;
  readonly #chunks = new ChunkQueue();
  #headers: Headers | undefined;
  #trailers: Headers | undefined;
  #windowBytes = WINDOW_BYTES;
  #owedBytes = 0;
  #hasEnded = false;
  #failure: Error | undefined;
  #wake: (() => void) | undefined;

  /** @param onRead Hears how many bytes more the peer may send. */
  constructor(onRead: (bytes: number) => void) {
    this.#onRead = onRead;
  }

  /** Undefined until they come, and for ever where there is nothing but trailers. */
  get headers(): Headers | undefined {
    return this.#headers;
  }

  /** What came at the end, if anything. */
  get trailers(): Headers | undefined {
    return this.#trailers;
  }

  get hasEnded(): boolean {
    return this.#hasEnded;
  }

  /** Resolves when there are headers, or there will be none. @throws what it failed with */
  async begun(): Promise<void> {
    while (this.#headers === undefined && !this.#hasEnded) await this.#change();
  }

  /** To the end; for one reader. @throws what it failed with, once what had come is read */
  async *bytes(): AsyncGenerator<Buffer, void> {
    for (;;) {
      const chunk = this.#chunks.take();
      if (chunk !== undefined) {
        this.#owe(chunk.length);
        yield chunk;
        continue;
      }
      if (this.#hasEnded) return;
      await this.#change();
    }
  }

  /** @param paddingBytes What counts, and is nothing. @returns false where the peer sends more than it may. */
  takeBytes(bytes: Buffer, paddingBytes: number): boolean {
    this.#windowBytes -= bytes.length + paddingBytes;
    if (this.#windowBytes < 0) return false;
    if (bytes.length > 0) this.#chunks.push(bytes);
    this.#owe(paddingBytes);
    this.#wake?.();
    return true;
  }

  takeHeaders(headers: Headers): void {
    this.#headers = headers;
    this.#wake?.();
  }

  end(trailers?: Headers): void {
    this.#trailers = trailers;
    this.#hasEnded = true;
    this.#wake?.();
  }

  fail(error: Error): void {
    this.#failure ??= error;
    this.#wake?.();
  }

  async #change(): Promise<void> {
    if (this.#failure !== undefined) throw this.#failure;
    const { promise, resolve } = Promise.withResolvers<void>();
    this.#wake = resolve;
    await promise;
    this.#wake = undefined;
  }

  #owe(bytes: number): void {
    this.#owedBytes += bytes;
    if (this.#hasEnded || this.#owedBytes < WINDOW_BYTES / 2) return;
    this.#windowBytes += this.#owedBytes;
    this.#onRead(this.#owedBytes);
    this.#owedBytes = 0;
  }
}
