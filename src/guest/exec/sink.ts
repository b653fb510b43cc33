// Where a command's output goes: a stream whose reader may be slow, or gone, or nobody.

import type { Writable } from "node:stream";
import { finished } from "node:stream/promises";
import { untilAborted } from "../../lib/keyed-lock.ts";

/** Of what the reader has not taken. Streams count bytes, and a guest may send them one by one. */
const MAX_PIECES = 64;

export class Sink {
  readonly #to: Writable | undefined;
  readonly #gone = Promise.withResolvers<void>();
  #isGone: boolean;
  #pieces = 0;
  #emptied: PromiseWithResolvers<void> | undefined;

  constructor(to: Writable | undefined) {
    this.#to = to;
    this.#isGone = to === undefined || to.destroyed;
    const leave = (): void => {
      this.#isGone = true;
      this.#gone.resolve();
    };
    to?.on("error", leave).on("close", leave);
  }

  /** False: nothing more before `drained`. A reader that went away takes everything. */
  offer(chunk: Uint8Array): boolean {
    if (this.#to === undefined || this.#isGone) return true;
    this.#pieces += 1;
    const hasRoom = this.#to.write(chunk, () => {
      this.#pieces -= 1;
      if (this.#pieces > 0) return;
      this.#emptied?.resolve();
      this.#emptied = undefined;
    });
    return hasRoom && this.#pieces < MAX_PIECES;
  }

  /** Resolves when all was taken. */
  async drained(signal: AbortSignal): Promise<void> {
    if (this.#pieces === 0) return;
    this.#emptied ??= Promise.withResolvers();
    await untilAborted(Promise.race([this.#emptied.promise, this.#gone.promise]), signal);
  }

  async write(chunk: Uint8Array, signal: AbortSignal): Promise<void> {
    if (!this.offer(chunk)) await this.drained(signal);
  }

  /** Resolves when all was taken. */
  async end(signal: AbortSignal): Promise<void> {
    if (this.#to === undefined || this.#isGone) return;
    this.#to.end();
    await finished(this.#to, { signal, readable: false }).catch(() => signal.throwIfAborted());
  }
}
