// Where a command's output goes: a stream whose reader may be slow, or gone, or nobody.

import { once } from "node:events";
import type { Writable } from "node:stream";
import { finished } from "node:stream/promises";

export class Sink {
  readonly #to: Writable | undefined;
  #isGone: boolean;

  constructor(to: Writable | undefined) {
    this.#to = to;
    this.#isGone = to === undefined || to.destroyed;
    const leave = (): void => void (this.#isGone = true);
    to?.on("error", leave).on("close", leave);
  }

  /** Resolves when more may come. A reader that went away takes everything. */
  async write(chunk: Uint8Array, signal: AbortSignal): Promise<void> {
    if (this.#to === undefined || this.#isGone || this.#to.write(chunk)) return;
    const leaving = new AbortController();
    const either = AbortSignal.any([signal, leaving.signal]);
    const closed = once(this.#to, "close", { signal: either }).catch(() => {});
    await Promise.race([once(this.#to, "drain", { signal: either }).catch(() => {}), closed]);
    leaving.abort();
    signal.throwIfAborted();
  }

  /** Resolves when all was taken. */
  async end(signal: AbortSignal): Promise<void> {
    if (this.#to === undefined || this.#isGone) return;
    this.#to.end();
    await finished(this.#to, { signal, readable: false }).catch(() => signal.throwIfAborted());
  }
}
