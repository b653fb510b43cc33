// Work of which only so much goes on at once; the rest waits for its turn. First come, first served.

import { untilAborted } from "./keyed-lock.ts";

export class Turns {
  #free: number;
  /** Who waits, the first first. */
  readonly #queue = new Set<() => void>();

  constructor(atOnce: number) {
    this.#free = atOnce;
  }

  /** Undefined: there is a queue. Dispose what is returned to pass the turn on. */
  tryTake(): Disposable | undefined {
    if (this.#free === 0) return undefined;
    this.#free--;
    return this.#turn();
  }

  /** Abort gives up the place in the queue. */
  async take(signal: AbortSignal): Promise<Disposable> {
    signal.throwIfAborted();
    const now = this.tryTake();
    if (now !== undefined) return now;
    const { promise, resolve } = Promise.withResolvers<void>();
    this.#queue.add(resolve);
    try {
      await untilAborted(promise, signal);
    } catch (error) {
      if (!this.#queue.delete(resolve)) this.#passOn(); // the turn came with the abort
      throw error;
    }
    return this.#turn();
  }

  #turn(): Disposable {
    let isTaken = true;
    return {
      [Symbol.dispose]: () => {
        if (isTaken) this.#passOn();
        isTaken = false;
      },
    };
  }

  #passOn(): void {
    const [next] = this.#queue;
    if (next === undefined) {
      this.#free++;
      return;
    }
    this.#queue.delete(next);
    next();
  }
}
