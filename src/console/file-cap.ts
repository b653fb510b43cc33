// Keeps a file that the guest can write to through QEMU from filling the disk.

import { type FSWatcher, watch } from "node:fs";
import { stat, truncate } from "node:fs/promises";

/**
 * Empties the file whenever it is longer than `maxBytes`; QEMU appends, so what comes next starts at the beginning.
 * A file that is not there is left alone. Until disposed.
 */
export function capFile(path: string, maxBytes: number): Disposable {
  const look = async (): Promise<void> => {
    const { size } = await stat(path);
    if (size > maxBytes) await truncate(path, 0);
  };
  const tryLook = (): void => void look().catch(() => {}); // gone: then it takes no room
  let watcher: FSWatcher | undefined;
  try {
    watcher = watch(path, { persistent: false }, tryLook).on("error", () => {});
  } catch {
    // Not there, or out of watches.
  }
  tryLook();
  return { [Symbol.dispose]: () => watcher?.close() };
}
