// The thread that hashes and writes one download, so that the main thread stays free for callers.
// Every message gets exactly one reply, in order. Blocks come through shared memory, each but the last one full.

import { createHash, type Hash } from "node:crypto";
import {
  constants,
  fchmodSync,
  fdatasync,
  fstatSync,
  fsyncSync,
  ftruncateSync,
  openSync,
  readSync,
  writeSync,
} from "node:fs";
import { parentPort, workerData } from "node:worker_threads";
import { errorCodeOf } from "../lib/error-code.ts";
import {
  type Checkpoint,
  type DiskTask,
  type Reply,
  type ReplyOf,
  SPARSE_BYTES,
  type WorkerStart,
} from "./disk-task.ts";

/** How much may be dirty in the page cache, so that the sync at the end is short. */
const SYNC_BYTES = 64 * 1024 * 1024;

class DiskFile {
  readonly #file: number;
  #hash: Hash = createHash("sha256");
  #position = 0;
  #syncedBytes = 0;
  #isSyncing = false;

  constructor(path: string) {
    this.#file = openSync(path, constants.O_RDWR | constants.O_CREAT | constants.O_NOFOLLOW, 0o600);
  }

  /** Goes on behind the last checkpoint whose bytes are still what they were. */
  resume(checkpoints: readonly Checkpoint[]): number {
    const { size } = fstatSync(this.#file);
    const buffer = Buffer.alloc(1024 * 1024);
    const reading = createHash("sha256");
    let read = 0;
    for (const { bytes, sha256 } of checkpoints) {
      if (bytes > size || bytes < read) break;
      while (read < bytes) {
        const got = readSync(this.#file, buffer, 0, Math.min(buffer.length, bytes - read), read);
        if (got === 0) break;
        reading.update(buffer.subarray(0, got));
        read += got;
      }
      if (read !== bytes || reading.copy().digest("hex") !== sha256) break;
      this.#hash = reading.copy();
      this.#position = bytes;
    }
    ftruncateSync(this.#file, this.#position);
    return this.#position;
  }

  restart(): number {
    this.#hash = createHash("sha256");
    this.#position = 0;
    ftruncateSync(this.#file, 0);
    return 0;
  }

  write(block: Buffer): void {
    this.#hash.update(block);
    let from = 0;
    while (from < block.length) {
      const to = Math.min(from + SPARSE_BYTES, block.length);
      if (!isZero(block.subarray(from, to))) this.#writeAll(block.subarray(from, to), this.#position + from);
      from = to;
    }
    this.#position += block.length;
    this.#syncBehind();
  }

  /** A file must not end before its checkpoint, however many zeros are at its end. */
  mark(): Checkpoint {
    if (fstatSync(this.#file).size < this.#position) ftruncateSync(this.#file, this.#position);
    return { bytes: this.#position, sha256: this.#hash.copy().digest("hex") };
  }

  finish(): Checkpoint {
    const mark = this.mark();
    fchmodSync(this.#file, 0o444);
    fsyncSync(this.#file);
    return mark;
  }

  #writeAll(bytes: Buffer, at: number): void {
    for (let written = 0; written < bytes.length; ) {
      written += writeSync(this.#file, bytes, written, bytes.length - written, at + written);
    }
  }

  #syncBehind(): void {
    if (this.#isSyncing || this.#position - this.#syncedBytes < SYNC_BYTES) return;
    this.#isSyncing = true;
    const syncing = this.#position;
    fdatasync(this.#file, () => {
      this.#isSyncing = false; // an error comes again with the sync at the end
      this.#syncedBytes = syncing;
    });
  }
}

const ZEROS = Buffer.alloc(SPARSE_BYTES);

const isZero = (bytes: Buffer): boolean =>
  bytes.equals(bytes.length === ZEROS.length ? ZEROS : ZEROS.subarray(0, bytes.length));

function serve(start: WorkerStart): void {
  let file: DiskFile | undefined;
  const perform = (task: DiskTask): ReplyOf[DiskTask["do"]] => {
    file ??= new DiskFile(start.path);
    switch (task.do) {
      case "resume":
        return file.resume(task.checkpoints);
      case "restart":
        return file.restart();
      case "write":
        return file.write(Buffer.from(start.memory, task.at, task.length));
      case "mark":
        return file.mark();
      case "finish":
        return file.finish();
    }
  };
  parentPort?.on("message", (task: DiskTask) => {
    let reply: Reply;
    try {
      reply = { isDone: true, value: perform(task) };
    } catch (error) {
      reply = failed(error);
    }
    parentPort?.postMessage(reply);
  });
}

function failed(error: unknown): Reply {
  const message = error instanceof Error ? error.message : String(error);
  const code = errorCodeOf(error);
  return { isDone: false, message, ...(code === undefined ? {} : { code }) };
}

serve(workerData as WorkerStart);
