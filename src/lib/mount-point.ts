// Where the filesystem that holds a folder is mounted.

import { stat } from "node:fs/promises";
import { dirname } from "node:path";

/** Walks up while the device stays the same. Two folders of one filesystem get one answer. */
export async function mountPointOf(folderPath: string): Promise<string> {
  const { dev } = await stat(folderPath);
  let path = folderPath;
  while (path !== "/" && (await stat(dirname(path))).dev === dev) path = dirname(path);
  return path;
}
