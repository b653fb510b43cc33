// Tells when to look again at a file that a guest writes to, or QEMU for it. A silent one is watched; one that grows is looked at now
// and then, because it may grow byte by byte, and an event for each would cost more.

import { type FSWatcher, watch } from "node:fs";
import { sleepMs } from "./backoff.ts";
import { errorCodeOf } from "./error-code.ts";

export interface ChangingFile {
  readonly path: string;
  /** Its length now, in bytes. */
  readonly sizeBytes: () => Promise<number>;
  /** Milliseconds between two looks at one that grows, */
  readonly growingMs: number;
  /** at one that is silent, although no event came, or is not there, */
  readonly silentMs: number;
  /** and at one that is silent and cannot be watched: the node is out of watches. */
  readonly unwatchedMs: number;
}

export class FileChanges {
  readonly #file: ChangingFile;
  readonly #wakeUp: AbortSignal;
  #seenBytes: number | undefined;

  /** @param wakeUp Another reason to look: it ends every waiting. */
  constructor(file: ChangingFile, wakeUp: AbortSignal) {
    this.#file = file;
    this.#wakeUp = wakeUp;
  }

  /** Resolves when it is time for the next look; at once after a silence. @param seenBytes The file's length at the last one. */
  async next(seenBytes: number): Promise<void> {
    const isGrowing = seenBytes !== this.#seenBytes;
    this.#seenBytes = seenBytes;
    if (isGrowing) await nap(this.#file.growingMs, this.#wakeUp);
    else await this.#silence(seenBytes);
  }

  async #silence(seenBytes: number): Promise<void> {
    const { path, sizeBytes, silentMs, unwatchedMs } = this.#file;
    const changed = new AbortController();
    const onChange = (): void => changed.abort();
    let watcher: FSWatcher | undefined;
    let limitMs = silentMs;
    try {
      watcher = watch(path, { persistent: false }, onChange).on("error", onChange);
    } catch (error) {
      if (errorCodeOf(error) !== "ENOENT") limitMs = unwatchedMs;
    }
    try {
      // What came between the last look and the watch has no event.
      if ((await sizeBytes()) === seenBytes) await nap(limitMs, AbortSignal.any([changed.signal, this.#wakeUp]));
    } finally {
      watcher?.close();
    }
  }
}

async function nap(ms: number, signal: AbortSignal): Promise<void> {
  await sleepMs(ms, signal).catch(() => {}); // woken up early
}
