// What a folder takes on disk.

import { lstat, readdir } from "node:fs/promises";
import { join } from "node:path";
import { diskBytesOf } from "./disk-blocks.ts";

/** Sums everything below `folderPath`; what vanishes meanwhile counts nothing. */
export async function folderUsage(folderPath: string): Promise<{ usedBytes: number; usedInodes: number }> {
  let usedBytes = 0;
  let usedInodes = 0;
  for (const entry of await readdir(folderPath, { recursive: true, withFileTypes: true }).catch(() => [])) {
    const found = await lstat(join(entry.parentPath, entry.name)).catch(() => undefined);
    if (!found) continue;
    usedBytes += diskBytesOf(found);
    usedInodes += 1;
  }
  return { usedBytes, usedInodes };
}
