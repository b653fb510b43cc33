// Where a command's output goes: a stream whose reader may be slow, or gone, or nobody.

import type { Writable } from "node:stream";
import { finished } from "node:stream/promises";
import { untilAborted } from "../../lib/keyed-lock.ts";

export class Sink {
  readonly #to: Writable | undefined;
  readonly #gone = Promise.withResolvers<void>();
  #isGone: boolean;

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
    return this.#to === undefined || this.#isGone || this.#to.write(chunk);
  }

  async drained(signal: AbortSignal): Promise<void> {
    const { promise, resolve } = Promise.withResolvers<void>();
    this.#to?.once("drain", resolve);
    try {
      await untilAborted(Promise.race([promise, this.#gone.promise]), signal);
    } finally {
      this.#to?.off("drain", resolve);
    }
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
