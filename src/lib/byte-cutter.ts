// Cuts a stream of bytes into pieces that say at their beginning how long they are.

import { ChunkQueue } from "./chunk-queue.ts";

export interface CutterOptions {
  /** So many bytes tell a piece's size. */
  readonly prefixBytes: number;
  /** Of the whole piece, its prefix included. @throws what `push` is to throw for it */
  readonly sizeOf: (prefix: Buffer) => number;
}

/** Holds at most one piece that is not complete. Pieces are views of the bytes that were pushed, where they can be. */
export class ByteCutter {
  readonly #options: CutterOptions;
  readonly #held = new ChunkQueue();
  #heldBytes = 0;

  constructor(options: CutterOptions) {
    this.#options = options;
  }

  /** Of a piece that has begun and not ended. */
  get heldBytes(): number {
    return this.#heldBytes;
  }

  /** The pieces that are whole now. */
  push(chunk: Buffer): Buffer[] {
    this.#held.push(chunk);
    this.#heldBytes += chunk.length;
    const pieces: Buffer[] = [];
    for (;;) {
      const size = this.#nextSize();
      if (size === undefined || this.#heldBytes < size) return pieces;
      const held = this.#held.takeAll();
      pieces.push(held.subarray(0, size));
      const rest = held.subarray(size);
      if (rest.length > 0) this.#held.push(rest);
      this.#heldBytes = rest.length;
    }
  }

  #nextSize(): number | undefined {
    const { prefixBytes, sizeOf } = this.#options;
    return this.#heldBytes < prefixBytes ? undefined : sizeOf(this.#held.peek(prefixBytes));
  }
}
