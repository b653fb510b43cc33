// Work that many may wait for and one does: it goes on while anybody waits.

import { untilAborted } from "../lib/keyed-lock.ts";

interface Entry<T> {
  readonly promise: Promise<T>;
  readonly controller: AbortController;
  waiters: number;
}

export class JoinedWork<T> {
  readonly #running = new Map<string, Entry<T>>();

  /**
   * Joins the work under `key`, or begins it. Abort ends this caller's waiting; the last one to leave aborts the work
   * and waits for its end, so that nothing half-made is left behind.
   */
  async run(key: string, work: (signal: AbortSignal) => Promise<T>, signal: AbortSignal): Promise<T> {
    signal.throwIfAborted();
    const entry = this.#running.get(key) ?? this.#begin(key, work);
    entry.waiters++;
    try {
      return await untilAborted(entry.promise, signal);
    } finally {
      entry.waiters--;
      if (entry.waiters === 0) await this.#end(key, entry, signal.reason);
    }
  }

  /** Aborts all work and waits for its end. */
  async abortAll(reason: Error): Promise<void> {
    await Promise.all([...this.#running].map(async ([key, entry]) => this.#end(key, entry, reason)));
  }

  #begin(key: string, work: (signal: AbortSignal) => Promise<T>): Entry<T> {
    const controller = new AbortController();
    const entry: Entry<T> = { promise: work(controller.signal), controller, waiters: 0 };
    entry.promise.catch(() => {}); // every waiter has its own copy of the failure
    this.#running.set(key, entry);
    return entry;
  }

  /** Aborting work that has ended changes nothing. */
  async #end(key: string, entry: Entry<T>, reason: unknown): Promise<void> {
    if (this.#running.get(key) === entry) this.#running.delete(key);
    entry.controller.abort(reason);
    await entry.promise.catch(() => {});
  }
}
