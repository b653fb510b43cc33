// Keeps a file that the guest can write to through QEMU from filling the disk, and its writing from costing us much.

import { type FSWatcher, watch } from "node:fs";
import { stat, truncate } from "node:fs/promises";
import { sleepMs } from "../lib/backoff.ts";
import { errorCodeOf } from "../lib/error-code.ts";

/** How often a file that changes is looked at: a guest may write byte by byte, and an event for each would cost more. */
const ACTIVE_POLL_MS = 40;
/** How often one is looked at that cannot be watched: the node is out of watches. */
const UNWATCHED_POLL_MS = 1_000;
/** How often one is looked at that is silent, or not there. */
const SAFETY_POLL_MS = 60_000;

/**
 * Empties the file soon after it is longer than `maxBytes`; QEMU appends, so what comes next starts at the beginning.
 * A file that is not there is left alone. Until disposed.
 */
export function capFile(path: string, maxBytes: number): Disposable {
  const ending = new AbortController();
  void keepShort(path, maxBytes, ending.signal);
  return { [Symbol.dispose]: () => ending.abort() };
}

/** Never rejects. */
async function keepShort(path: string, maxBytes: number, signal: AbortSignal): Promise<void> {
  let last = 0;
  while (!signal.aborted) {
    const size = await sizeOf(path);
    if (size > maxBytes) await truncate(path, 0).catch(() => {}); // gone: then it takes no room
    if (size === last) await untilChanged(path, size, signal);
    else await nap(ACTIVE_POLL_MS, signal);
    last = size;
  }
}

/** Or until it is time to look again. */
async function untilChanged(path: string, size: number, signal: AbortSignal): Promise<void> {
  const changed = new AbortController();
  const wakeUp = (): void => changed.abort();
  let watcher: FSWatcher;
  try {
    watcher = watch(path, { persistent: false }, wakeUp).on("error", wakeUp);
  } catch (error) {
    return await nap(errorCodeOf(error) === "ENOENT" ? SAFETY_POLL_MS : UNWATCHED_POLL_MS, signal);
  }
  try {
    // What came between the last look and the watch has no event.
    if ((await sizeOf(path)) === size) await nap(SAFETY_POLL_MS, AbortSignal.any([changed.signal, signal]));
  } finally {
    watcher.close();
  }
}

/** 0 when it is not there. */
async function sizeOf(path: string): Promise<number> {
  return await stat(path).then(
    ({ size }) => size,
    () => 0,
  );
}

async function nap(ms: number, signal: AbortSignal): Promise<void> {
  await sleepMs(ms, signal).catch(() => {}); // woken up early
}
