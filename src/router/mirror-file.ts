// The mirror on disk, so that a restart of the router while a runtime is down makes no pod vanish.

import { mkdir, readdir, readFile, rm } from "node:fs/promises";
import { basename, dirname, join } from "node:path";
import { TEMP_SUFFIX, writeFileAtomically } from "../lib/atomic-file.ts";
import { errorCodeOf } from "../lib/error-code.ts";
import type { Logger } from "../ports/logger.ts";
import { fieldsOf, messageOf, partsAt, textField } from "./fields.ts";
import type { Kind } from "./methods.ts";
import { type Memory, Mirror } from "./mirror.ts";

/** Changes within this are one write. A pod that is made does not wait for it. */
const GATHER_MS = 1_000;
/** A write that failed is tried again after this: what was not written may not change for a long time. */
const AGAIN_MS = 10_000;
const MAX_FILE_BYTES = 64 << 20;
/** Fields of the file: protobuf, too. */
const FIELD_OF = { PodSandbox: 1, Container: 2, Image: 3 } as const;
/** The kinds that a whole list was heard of, by name. */
const HEARD_FIELD = 4;
const KINDS = Object.keys(FIELD_OF) as Kind[];

export class SavedMirror {
  readonly mirror: Mirror;
  readonly #path: string;
  readonly #log: Logger;
  #isDirty = false;
  #savedPrint: string;
  #writing: Promise<void> = Promise.resolve();
  #isGathering = false;

  private constructor(path: string, memory: Memory, log: Logger) {
    this.#path = path;
    this.#log = log;
    this.mirror = new Mirror(memory, () => this.#note());
    this.#savedPrint = printOf(memory);
  }

  /** A file that cannot be read is logged and begun anew: the runtimes, once they answer, know better. */
  static async open(path: string, log: Logger): Promise<SavedMirror> {
    await removeLeftovers(path);
    return new SavedMirror(path, await load(path, log), log);
  }

  /** Resolves when everything that is known now is on disk; rejects with nothing: a full disk stops no pod. */
  async settled(): Promise<void> {
    const write = async (): Promise<void> => {
      if (!this.#isDirty) return;
      this.#isDirty = false;
      const memory = this.mirror.memory();
      const print = printOf(memory);
      if (print === this.#savedPrint) return;
      const content = Buffer.concat([
        ...KINDS.map((kind) => messageOf(FIELD_OF[kind], memory.items[kind])),
        ...memory.heard.map((kind) => textField(HEARD_FIELD, kind)),
      ]);
      try {
        await mkdir(dirname(this.#path), { recursive: true, mode: 0o700 });
        await writeFileAtomically(this.#path, content);
        this.#savedPrint = print;
      } catch (error) {
        this.#log.error("what the runtimes have cannot be saved", { path: this.#path, error });
        this.#isDirty = true;
        this.#saveIn(AGAIN_MS);
      }
    };
    this.#writing = this.#writing.then(write);
    await this.#writing;
  }

  #note(): void {
    this.#isDirty = true;
    this.#saveIn(GATHER_MS);
  }

  #saveIn(ms: number): void {
    if (this.#isGathering) return;
    this.#isGathering = true;
    setTimeout(() => {
      this.#isGathering = false;
      void this.settled();
    }, ms).unref();
  }
}

async function load(path: string, log: Logger): Promise<Memory> {
  try {
    const content = await readFile(path);
    if (content.length > MAX_FILE_BYTES) throw new Error(`${content.length} bytes, limit ${MAX_FILE_BYTES}`);
    const items = {
      PodSandbox: partsAt(content, FIELD_OF.PodSandbox),
      Container: partsAt(content, FIELD_OF.Container),
      Image: partsAt(content, FIELD_OF.Image),
    };
    for (const item of Object.values(items).flat()) fieldsOf(item); // throws where one is broken
    const heard = partsAt(content, HEARD_FIELD).map((name) => Buffer.from(name).toString());
    return { items, heard: KINDS.filter((kind) => heard.includes(kind)) };
  } catch (error) {
    if (errorCodeOf(error) !== "ENOENT") log.error("what the runtimes had cannot be read", { path, error });
    return { items: { PodSandbox: [], Container: [], Image: [] }, heard: [] };
  }
}

/** A write that was cut off leaves what it had under another name. */
async function removeLeftovers(path: string): Promise<void> {
  const names = await readdir(dirname(path)).catch(() => []);
  const ours = names.filter((name) => name.startsWith(`${basename(path)}.`) && name.endsWith(TEMP_SUFFIX));
  await Promise.allSettled(ours.map(async (name) => await rm(join(dirname(path), name))));
}

/**
 * The same for the same items whatever their order and that of their fields: runtimes in Go list both, and the entries of
 * a map, as they happen to come, and what has not changed is not written again and again.
 */
function printOf({ items, heard }: Memory): string {
  const itemPrint = (item: Uint8Array): number => mixed(sumOf(fieldsOf(item), hashOf));
  const print = KINDS.reduce((sum, kind) => mixed(sum + sumOf(items[kind], itemPrint)), 0);
  return `${print} ${heard.toSorted().join(" ")}`;
}

function sumOf(values: readonly Uint8Array[], print: (value: Uint8Array) => number): number {
  return values.reduce((sum, value) => (sum + print(value)) >>> 0, values.length);
}

/** FNV-1a, 32 bits. */
function hashOf(bytes: Uint8Array): number {
  let hash = 0x811c9dc5;
  for (let at = 0; at < bytes.length; at++) hash = Math.imul(hash ^ (bytes[at] ?? 0), 0x01000193);
  return hash >>> 0;
}

/** So that what moves from one sum to another changes both. */
function mixed(print: number): number {
  const half = Math.imul(print ^ (print >>> 16), 0x85ebca6b);
  return (half ^ (half >>> 13)) >>> 0;
}
