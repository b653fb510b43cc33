// The main thread's end of a download to disk: takes bytes, holds back whoever is faster than the disk and the hash.

import { Worker } from "node:worker_threads";
import type { Checkpoint, DiskTask, Reply, ReplyOf } from "./disk-task.ts";

/** Shared memory of one download: enough to keep both threads busy. A block is a multiple of SPARSE_BYTES. */
const BLOCK_BYTES = 256 * 1024;
const BLOCKS = 4;
/** What `write` may have taken and the disk not have yet. */
export const IN_FLIGHT_BYTES = BLOCK_BYTES * BLOCKS;
/** The thread needs next to nothing; V8 would give it gigabytes. */
const RESOURCE_LIMITS = { maxOldGenerationSizeMb: 32, maxYoungGenerationSizeMb: 4 };

interface Waiting {
  readonly resolve: (value: ReplyOf[DiskTask["do"]]) => void;
  readonly reject: (error: unknown) => void;
}

/** One file being written. Any failure is final. Dispose it to end its thread; the file stays. */
export class DiskWriter implements AsyncDisposable {
  readonly #worker: Worker;
  readonly #memory = new SharedArrayBuffer(IN_FLIGHT_BYTES);
  readonly #waiting: Waiting[] = [];
  /** Blocks by number, each free when its promise has resolved. */
  readonly #blocks: Promise<unknown>[] = Array.from({ length: BLOCKS }, async () => Promise.resolve());
  #block = 0;
  #filled = 0;
  #failure: { readonly error: unknown } | undefined;

  /** @param path Made if it is not there. */
  constructor(path: string) {
    this.#worker = new Worker(new URL("./disk-worker.ts", import.meta.url), {
      workerData: { path, memory: this.#memory },
      resourceLimits: RESOURCE_LIMITS,
      name: "image download",
    });
    this.#worker.on("message", (reply: Reply) => this.#take(reply));
    this.#worker.on("error", (error) => this.#fail(error));
    this.#worker.on("exit", () => this.#fail(new Error("the thread that writes a download has ended")));
  }

  /** To be called first, if at all. @returns how many bytes are there and right. */
  async resume(checkpoints: readonly Checkpoint[]): Promise<number> {
    return this.#ask({ do: "resume", checkpoints });
  }

  /** Empties the file. Nothing may have been written by this writer. */
  async restart(): Promise<void> {
    await this.#ask({ do: "restart" });
  }

  /** Resolves when `bytes` may be used for something else. @throws what a file system throws. */
  async write(bytes: Uint8Array): Promise<void> {
    for (let taken = 0; taken < bytes.length; ) {
      if (this.#filled === 0) await this.#blocks[this.#block];
      if (this.#failure !== undefined) throw this.#failure.error;
      const part = bytes.subarray(taken, taken + BLOCK_BYTES - this.#filled);
      new Uint8Array(this.#memory, this.#block * BLOCK_BYTES + this.#filled, part.length).set(part);
      taken += part.length;
      this.#filled += part.length;
      if (this.#filled === BLOCK_BYTES) this.#send();
    }
  }

  /** Of whole blocks: may be behind what was given to `write`. */
  async mark(): Promise<Checkpoint> {
    return this.#ask({ do: "mark" });
  }

  /** Writes what is left; then the file is read-only and durable. @returns its length and hash. */
  async finish(): Promise<Checkpoint> {
    if (this.#filled > 0) this.#send();
    return this.#ask({ do: "finish" });
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#worker.terminate();
  }

  #send(): void {
    const sent = this.#ask({ do: "write", at: this.#block * BLOCK_BYTES, length: this.#filled });
    sent.catch(() => {}); // told to the next call
    this.#blocks[this.#block] = sent;
    this.#block = (this.#block + 1) % BLOCKS;
    this.#filled = 0;
  }

  async #ask<K extends DiskTask["do"]>(task: Extract<DiskTask, { do: K }>): Promise<ReplyOf[K]> {
    if (this.#failure !== undefined) throw this.#failure.error;
    const { promise, resolve, reject } = Promise.withResolvers<ReplyOf[DiskTask["do"]]>();
    this.#waiting.push({ resolve, reject });
    this.#worker.postMessage(task);
    return (await promise) as ReplyOf[K]; // replies come in the order of the questions
  }

  #take(reply: Reply): void {
    if (reply.isDone) this.#waiting.shift()?.resolve(reply.value);
    else this.#fail(Object.assign(new Error(reply.message), reply.code === undefined ? {} : { code: reply.code }));
  }

  #fail(error: unknown): void {
    this.#failure ??= { error };
    for (const { reject } of this.#waiting.splice(0)) reject(error);
  }
}
