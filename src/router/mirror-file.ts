// The mirror on disk, so that a restart of the router while a runtime is down makes no pod vanish.

import { mkdir, readFile } from "node:fs/promises";
import { dirname } from "node:path";
import { writeFileAtomically } from "../lib/atomic-file.ts";
import { errorCodeOf } from "../lib/error-code.ts";
import type { Logger } from "../ports/logger.ts";
import { messageOf, partsAt } from "./fields.ts";
import { type Items, Mirror } from "./mirror.ts";

/** Changes within this are one write. */
const GATHER_MS = 200;
const MAX_FILE_BYTES = 64 << 20;
/** Fields of the file: protobuf, too. */
const FIELD_OF = { PodSandbox: 1, Container: 2, Image: 3 } as const;

export class SavedMirror {
  readonly mirror: Mirror;
  readonly #path: string;
  readonly #log: Logger;
  #isDirty = false;
  #writing: Promise<void> = Promise.resolve();
  #isGathering = false;

  private constructor(path: string, items: Items, log: Logger) {
    this.#path = path;
    this.#log = log;
    this.mirror = new Mirror(items, () => this.#note());
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
      const kinds = Object.keys(FIELD_OF) as (keyof typeof FIELD_OF)[];
      const content = Buffer.concat(kinds.map((kind) => messageOf(FIELD_OF[kind], items[kind])));
      try {
        await writeFileAtomically(this.#path, content);
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
