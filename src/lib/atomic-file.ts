// Files that are either the old or the new content, never a mixture, even after a power cut.

import { randomBytes } from "node:crypto";
import { open, rename, rm } from "node:fs/promises";
import { dirname } from "node:path";

/** Of the temp files that a write which was cut off leaves beside its path: `<path>.<random>.tmp`. */
export const TEMP_SUFFIX = ".tmp";

/** Writes a temp file beside `path`, fsyncs it, renames it over `path` and fsyncs the folder. */
export async function writeFileAtomically(
  path: string,
  content: string | Uint8Array,
  { mode = 0o600 }: { mode?: number } = {},
): Promise<void> {
  const tempPath = `${path}.${randomBytes(6).toString("hex")}${TEMP_SUFFIX}`;
  try {
    await using file = await open(tempPath, "wx", mode);
    await file.writeFile(content);
    await file.sync();
    await rename(tempPath, path);
  } catch (error) {
    await rm(tempPath, { force: true });
    throw error;
  }
  await syncFolder(dirname(path));
}

/** Makes the names in a folder durable: a rename or unlink is only on disk once its folder is. */
export async function syncFolder(folderPath: string): Promise<void> {
  await using folder = await open(folderPath, "r");
  await folder.sync();
}
