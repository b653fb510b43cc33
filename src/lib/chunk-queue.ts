// Bytes in their order, as they came in chunks. Many small chunks would take far more memory than their bytes.

/** Neighbours that are no larger than this together are one. */
const JOINED_BYTES = 4_096;

/** INVARIANTS: it never writes into a chunk that it was given, nor over what it gave. */
export class ChunkQueue {
  #chunks: Buffer[] = [];
  /** Where small ones are joined, and what is joined there. */
  #room = NOTHING;
  #joined = NOTHING;

  push(chunk: Buffer): void {
    const last = this.#chunks.at(-1);
    if (last === undefined || last.length + chunk.length > JOINED_BYTES) return void this.#chunks.push(chunk);
    if (last !== this.#joined) {
      this.#room = Buffer.allocUnsafe(JOINED_BYTES);
      last.copy(this.#room);
    }
    chunk.copy(this.#room, last.length);
    this.#joined = this.#room.subarray(0, last.length + chunk.length);
    this.#chunks[this.#chunks.length - 1] = this.#joined;
  }

  /** The next. There are never so many that `shift` is dear. */
  take(): Buffer | undefined {
    return this.#chunks.shift();
  }

  /** The next, of at least so many bytes where there are as many. */
  peek(minBytes: number): Buffer {
    const [first = NOTHING] = this.#chunks;
    if (first.length >= minBytes || this.#chunks.length <= 1) return first;
    const all = this.takeAll();
    this.#chunks.push(all);
    return all;
  }

  takeAll(): Buffer {
    const all = this.#chunks.length === 1 ? (this.#chunks[0] as Buffer) : Buffer.concat(this.#chunks);
    this.#chunks = [];
    return all;
  }
}

const NOTHING = Buffer.alloc(0);
