// Downloads under way, and what is left of cut ones: a file of bytes and a record of what they are.
//   partial/<hash of the source's key>.part   the bytes so far
//   partial/<the same>.json                   the record; without it the bytes are nothing

import { createHash, randomBytes } from "node:crypto";
import { readdir, readFile, rename, rm, stat, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { z } from "zod";
import { KeyedLock } from "../lib/keyed-lock.ts";
import type { Checkpoint } from "./disk-task.ts";

const MAX_RECORD_BYTES = 64 * 1024;
/** Checkpoints that a record keeps; beyond that every second one goes. */
const MAX_CHECKPOINTS = 64;

const checkpoint = z.strictObject({ bytes: z.int().positive(), sha256: z.string().regex(/^[0-9a-f]{64}$/) });

const partialRecord = z.strictObject({
  v: z.literal(1),
  key: z.string(),
  /** Of the whole, if the source told it. */
  lengthBytes: z.int().positive().optional(),
  validators: z.strictObject({ etag: z.string().optional(), lastModified: z.string().optional() }),
  /** Ascending. Several, so that damage costs only what follows it. */
  checkpoints: z.array(checkpoint).min(1).max(MAX_CHECKPOINTS),
});

type PartialRecord = z.output<typeof partialRecord>;

/** One download's claim on its files; while it lives nobody else touches them. */
export interface PartialFile {
  readonly path: string;
  /** Left by an earlier download. */
  readonly record: PartialRecord | undefined;
  /** Not made durable: after a power cut an older one, or none, is there, and the bytes tell. */
  save(record: Omit<PartialRecord, "v" | "key">): Promise<void>;
  /** The bytes begin anew: what was saved of them is no longer true. */
  forget(): Promise<void>;
  /** Removes bytes that no record tells of. */
  settle(): Promise<void>;
  remove(): Promise<void>;
}

/** INVARIANT: files with a claim are never collected. */
export class PartialFolder {
  readonly #path: string;
  readonly #claims = new KeyedLock();
  readonly #live = new Map<string, number>();

  constructor(path: string) {
    this.#path = path;
  }

  /** Runs `work` with the files of `key`, once every earlier holder is done. */
  async withFile<T>(key: string, work: (file: PartialFile) => Promise<T>, signal: AbortSignal): Promise<T> {
    const name = createHash("sha256").update(key).digest("hex").slice(0, 40);
    this.#live.set(name, (this.#live.get(name) ?? 0) + 1);
    try {
      return await this.#claims.run(name, async () => work(await this.#open(name, key)), signal);
    } finally {
      const others = (this.#live.get(name) ?? 1) - 1;
      if (others === 0) this.#live.delete(name);
      else this.#live.set(name, others);
    }
  }

  /** Removes what cut downloads left and nobody came back for. @returns how many files. */
  async collect({ olderThanMs }: { readonly olderThanMs: number }): Promise<number> {
    let removed = 0;
    for (const file of await readdir(this.#path)) {
      const [name = ""] = file.split(".");
      if (this.#live.has(name)) continue;
      const path = join(this.#path, file);
      const isWanted =
        /^[0-9a-f]{40}\.(part|json)$/.test(file) && (await isResumable(join(this.#path, name), olderThanMs));
      if (isWanted || this.#live.has(name)) continue;
      await rm(path, { recursive: true, force: true });
      removed++;
    }
    return removed;
  }

  async #open(name: string, key: string): Promise<PartialFile> {
    const [path, recordPath] = [join(this.#path, `${name}.part`), join(this.#path, `${name}.json`)];
    const record = await load(recordPath, key);
    let isRecorded = record !== undefined;
    const forget = async (): Promise<void> => {
      isRecorded = false;
      await rm(recordPath, { force: true });
    };
    const remove = async (): Promise<void> => {
      await forget();
      await rm(path, { force: true });
    };
    return {
      path,
      record,
      save: async (saved) => {
        const tempPath = `${recordPath}.${randomBytes(6).toString("hex")}.tmp`;
        await writeFile(tempPath, JSON.stringify({ v: 1, key, ...saved }), { mode: 0o600 });
        await rename(tempPath, recordPath);
        isRecorded = true;
      },
      forget,
      settle: async () => (isRecorded ? undefined : remove()),
      remove,
    };
  }
}

/** Adds the newest; of many only so few are kept that damage costs a small part of the file. */
export function withCheckpoint(checkpoints: readonly Checkpoint[], newest: Checkpoint): Checkpoint[] {
  const before = checkpoints.length < MAX_CHECKPOINTS ? checkpoints : checkpoints.filter((_, index) => index % 2 === 1);
  return [...before.filter(({ bytes }) => bytes < newest.bytes), newest];
}

/** A broken record is as good as none. */
async function load(path: string, key: string): Promise<PartialRecord | undefined> {
  try {
    if ((await stat(path)).size > MAX_RECORD_BYTES) return undefined;
    const record = partialRecord.parse(JSON.parse(await readFile(path, "utf8")));
    return record.key === key ? record : undefined;
  } catch {
    return undefined;
  }
}

async function isResumable(pathWithoutEnd: string, olderThanMs: number): Promise<boolean> {
  try {
    const bytes = await stat(`${pathWithoutEnd}.part`);
    const record = await stat(`${pathWithoutEnd}.json`);
    return bytes.isFile() && record.isFile() && record.mtimeMs >= olderThanMs;
  } catch {
    return false;
  }
}
