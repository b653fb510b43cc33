// Serialises work that shares a key (one pod, one image), and nothing else.

/**
 * Runs `work` once every earlier holder of `key` has finished. First come, first served.
 * Aborting while waiting gives up the place in the queue; aborting later is the work's own business.
 */
export class KeyedLock {
  readonly #tails = new Map<string, Promise<void>>();

  async run<T>(key: string, work: () => Promise<T>, signal: AbortSignal): Promise<T> {
    const earlier = this.#tails.get(key) ?? Promise.resolve();
    const { promise: mine, resolve: release } = Promise.withResolvers<void>();
    const tail = earlier.then(() => mine);
    this.#tails.set(key, tail);
    try {
      await untilAborted(earlier, signal);
    } catch (error) {
      release();
      void tail.then(() => this.#forget(key, tail)); // an earlier holder is still at it: who comes now waits for it
      throw error;
    }
    try {
      return await work();
    } finally {
      release();
      this.#forget(key, tail);
    }
  }

  #forget(key: string, tail: Promise<void>): void {
    if (this.#tails.get(key) === tail) this.#tails.delete(key);
  }

  get heldKeys(): number {
    return this.#tails.size;
  }
}

/** Waits for `promise` no longer than `signal` allows; the promise itself goes on, and how it ends is nobody's then. */
export async function untilAborted<T>(promise: Promise<T>, signal: AbortSignal): Promise<T> {
  promise.catch(() => {}); // also where we do not get as far as waiting: an unheard rejection ends the process
  signal.throwIfAborted();
  const { promise: aborted, reject } = Promise.withResolvers<never>();
  const onAbort = (): void => reject(signal.reason);
  signal.addEventListener("abort", onAbort, { once: true });
  try {
    return await Promise.race([promise, aborted]);
  } finally {
    signal.removeEventListener("abort", onAbort);
  }
}
