// The mirror on disk, so that a restart of the router while a runtime is down makes no pod vanish.

import { mkdir, readFile } from "node:fs/promises";
import { dirname } from "node:path";
import { writeFileAtomically } from "../lib/atomic-file.ts";
import { errorCodeOf } from "../lib/error-code.ts";
import type { Logger } from "../ports/logger.ts";
import { fieldsOf, messageOf, partsAt } from "./fields.ts";
import { type Items, Mirror } from "./mirror.ts";

/** Changes within this are one write. A pod that is made does not wait for it. */
const GATHER_MS = 1_000;
const MAX_FILE_BYTES = 64 << 20;
/** Fields of the file: protobuf, too. */
const FIELD_OF = { PodSandbox: 1, Container: 2, Image: 3 } as const;

export class SavedMirror {
  readonly mirror: Mirror;
  readonly #path: string;
  readonly #log: Logger;
  #isDirty = false;
  #savedPrint: number;
  #writing: Promise<void> = Promise.resolve();
  #isGathering = false;

  private constructor(path: string, items: Items, log: Logger) {
    this.#path = path;
    this.#log = log;
    this.mirror = new Mirror(items, () => this.#note());
    this.#savedPrint = printOf(items);
  }

  /** A file that cannot be read is logged and begun anew: the runtimes, once they answer, know better. */
  static async open(path: string, log: Logger): Promise<SavedMirror> {
    await mkdir(dirname(path), { recursive: true, mode: 0o700 });
    return new SavedMirror(path, await load(path, log), log);
  }

  /** Resolves when everything that is known now is on disk; rejects with nothing: a full disk stops no pod. */
  async settled(): Promise<void> {
    const write = async (): Promise<void> => {
      if (!this.#isDirty) return;
      this.#isDirty = false;
      const items = this.mirror.items();
      const print = printOf(items);
      if (print === this.#savedPrint) return;
      const kinds = Object.keys(FIELD_OF) as (keyof typeof FIELD_OF)[];
      const content = Buffer.concat(kinds.map((kind) => messageOf(FIELD_OF[kind], items[kind])));
      try {
        await writeFileAtomically(this.#path, content);
        this.#savedPrint = print;
      } catch (error) {
        this.#log.error("what the runtimes have cannot be saved", { path: this.#path, error });
      }
    };
    this.#writing = this.#writing.then(write);
    await this.#writing;
  }

  #note(): void {
    this.#isDirty = true;
    if (this.#isGathering) return;
    this.#isGathering = true;
    setTimeout(() => {
      this.#isGathering = false;
      void this.settled();
    }, GATHER_MS).unref();
  }
}

async function load(path: string, log: Logger): Promise<Items> {
  try {
    const content = await readFile(path);
    if (content.length > MAX_FILE_BYTES) throw new Error(`${content.length} bytes, limit ${MAX_FILE_BYTES}`);
    return {
      PodSandbox: partsAt(content, FIELD_OF.PodSandbox),
      Container: partsAt(content, FIELD_OF.Container),
      Image: partsAt(content, FIELD_OF.Image),
    };
  } catch (error) {
    if (errorCodeOf(error) !== "ENOENT") log.error("what the runtimes had cannot be read", { path, error });
    return { PodSandbox: [], Container: [], Image: [] };
  }
}

/**
 * The same for the same items whatever their order and that of their fields: runtimes in Go list both, and the entries of
 * a map, as they happen to come, and what has not changed is not written again and again.
 */
function printOf(items: Items): number {
  const itemPrint = (item: Uint8Array): number => mixed(sumOf(fieldsOf(item), hashOf));
  return Object.values(items).reduce((print, of: readonly Uint8Array[]) => mixed(print + sumOf(of, itemPrint)), 0);
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
