// The CRI log: appended to in whole batches, re-opened after rotation, set back to what is accounted for.

import { constants, type FileHandle, open, readdir } from "node:fs/promises";
import { basename } from "node:path";
import { errorCodeOf } from "../lib/error-code.ts";
import { LogFolder, type LogPlace, notOpened } from "./log-folder.ts";
import type { FileIdentity, Position } from "./position.ts";

// NOFOLLOW and NONBLOCK: a link or a FIFO in the place of the log is refused, not followed or waited for.
const AS_IT_IS = constants.O_WRONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK;
const FLAGS = AS_IT_IS | constants.O_APPEND | constants.O_CREAT;
const MODE = 0o640;

/** An open log. Only we write to it. */
export class LogFile implements AsyncDisposable {
  readonly identity: FileIdentity;
  readonly #file: FileHandle;
  #sizeBytes: number;
  /** A batch that failed could not be taken back: there is something behind `#sizeBytes`. */
  #isTorn = false;

  private constructor(file: FileHandle, identity: FileIdentity, sizeBytes: number) {
    this.#file = file;
    this.identity = identity;
    this.#sizeBytes = sizeBytes;
  }

  /** Makes the file if it is missing, its folder only when asked to. */
  static async open(place: LogPlace, { makesFolder }: { makesFolder: boolean }): Promise<LogFile> {
    await using folder = await LogFolder.open(place, { makes: makesFolder });
    const file = await open(folder.pathOf(place.logPath), FLAGS, MODE).catch((error: unknown) => {
      throw notOpened(place.logPath, error);
    });
    try {
      const stats = await file.stat();
      if (!stats.isFile()) throw new Error(`${place.logPath}: is not a regular file`);
      return new LogFile(file, identityOf(stats), stats.size);
    } catch (error) {
      await file.close();
      throw error;
    }
  }

  get sizeBytes(): number {
    return this.#sizeBytes;
  }

  /** All of it or, when it throws, nothing of it. */
  async append(bytes: Buffer): Promise<void> {
    if (this.#isTorn) await this.#cut(this.#sizeBytes);
    try {
      for (let done = 0; done < bytes.length; ) {
        const { bytesWritten } = await this.#file.write(bytes, done, bytes.length - done);
        done += bytesWritten;
      }
    } catch (error) {
      this.#isTorn = true;
      await this.#cut(this.#sizeBytes).catch(() => {}); // the first error says more; the next append tries again
      throw error;
    }
    this.#sizeBytes += bytes.length;
  }

  /** Cuts off what a daemon wrote that ended before it could say so. */
  async cutBackTo(sizeBytes: number): Promise<void> {
    if (sizeBytes < this.#sizeBytes) await this.#cut(sizeBytes);
  }

  async #cut(sizeBytes: number): Promise<void> {
    await this.#file.truncate(sizeBytes);
    this.#sizeBytes = sizeBytes;
    this.#isTorn = false;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#file.close();
  }
}

/** Sets the log of `position` back to its recorded size, also if it was rotated to another name in the meantime. */
export async function reconcile(current: LogFile, place: LogPlace, { log }: Position): Promise<void> {
  if (log === null) return;
  if (log.identity === current.identity) return current.cutBackTo(log.sizeBytes);
  await using folder = await LogFolder.open(place, { makes: false });
  for (const name of await readdir(folder.pathOf(""))) {
    if (!name.startsWith(`${basename(place.logPath)}.`)) continue; // the kubelet: 0.log -> 0.log.<time>
    await using file = await openIfFile(folder.pathOf(name));
    const stats = await file?.stat();
    if (stats && identityOf(stats) === log.identity && stats.size > log.sizeBytes) await file?.truncate(log.sizeBytes);
  }
}

/** Undefined when it is gone, or something else than what we made. */
async function openIfFile(path: string): Promise<FileHandle | undefined> {
  try {
    return await open(path, AS_IT_IS);
  } catch (error) {
    if (NOT_OURS.has(errorCodeOf(error) ?? "")) return undefined;
    throw error;
  }
}

const NOT_OURS: ReadonlySet<string> = new Set(["ENOENT", "ELOOP", "ENXIO", "EISDIR"]);

function identityOf({ dev, ino }: { dev: number; ino: number }): FileIdentity {
  return `${dev}:${ino}`;
}
