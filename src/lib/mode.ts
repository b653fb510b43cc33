import { chmod, stat } from "node:fs/promises";

/** Only where it is another: a read-only file system refuses what changes nothing, too. */
export async function setMode(path: string, mode: number): Promise<void> {
  if (((await stat(path)).mode & 0o7777) !== mode) await chmod(path, mode);
}
