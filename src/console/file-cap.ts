// Keeps a file that the guest can write to through QEMU from filling the disk, and its writing from costing us much.

import { stat, truncate } from "node:fs/promises";
import { FileChanges } from "../lib/file-changes.ts";

/** How often a file that changes is looked at. */
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
  const sizeBytes = async (): Promise<number> => await sizeOf(path);
  const pace = { growingMs: ACTIVE_POLL_MS, silentMs: SAFETY_POLL_MS, unwatchedMs: UNWATCHED_POLL_MS };
  const changes = new FileChanges({ path, sizeBytes, ...pace }, signal);
  while (!signal.aborted) {
    const size = await sizeBytes();
    if (size > maxBytes) await truncate(path, 0).catch(() => {}); // gone: then it takes no room
    await changes.next(size);
  }
}

/** 0 when it is not there. */
async function sizeOf(path: string): Promise<number> {
  return await stat(path).then(
    ({ size }) => size,
    () => 0,
  );
}
