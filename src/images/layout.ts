// The store's folders and files, and what a start makes of what the last run left in them.

import { chown, lstat, mkdir, readdir, rm } from "node:fs/promises";
import { join } from "node:path";
import { TEMP_SUFFIX } from "../lib/atomic-file.ts";
import { diskBytesOf } from "../lib/disk-blocks.ts";
import { setMode } from "../lib/mode.ts";
import type { ImageDigest } from "../model/ids.ts";

export interface StoreLayout {
  readonly rootPath: string;
  /** Named by the hex of their digest; root:root 0444; never written again. */
  readonly blobsPath: string;
  readonly namesPath: string;
  readonly holdsPath: string;
  /** Downloads under way, and cut ones that can be gone on with. */
  readonly partialPath: string;
  blobPath(digest: ImageDigest): string;
}

export function layoutOf(rootPath: string): StoreLayout {
  const blobsPath = join(rootPath, "blobs", "sha256");
  return {
    rootPath,
    blobsPath,
    namesPath: join(rootPath, "names"),
    holdsPath: join(rootPath, "holds"),
    partialPath: join(rootPath, "partial"),
    blobPath: (digest) => join(blobsPath, digest.slice("sha256:".length)),
  };
}

/**
 * Makes the folders. Those on the way to image bytes may be passed through by QEMU, but not listed. QEMU's arguments, which
 * anybody may read, tell where the bytes are, so nobody else passes through the root. @param qemuGid Unknown: anybody does.
 */
export async function makeFolders(layout: StoreLayout, qemuGid: number | undefined): Promise<void> {
  await makeFolder(layout.rootPath, qemuGid === undefined ? 0o711 : 0o710);
  const { gid } = await lstat(layout.rootPath);
  if (qemuGid !== undefined && gid !== qemuGid) await chown(layout.rootPath, -1, qemuGid);
  for (const path of [join(layout.rootPath, "blobs"), layout.blobsPath, layout.partialPath])
    await makeFolder(path, 0o711);
  for (const path of [layout.namesPath, layout.holdsPath]) await makeFolder(path, 0o700);
}

/** Removes temp files that a crash left. @returns how many. */
export async function removeTemps(layout: StoreLayout): Promise<number> {
  const temps: string[] = [];
  for (const folder of [layout.namesPath, layout.holdsPath]) {
    temps.push(
      ...(await readdir(folder)).filter((file) => file.endsWith(TEMP_SUFFIX)).map((file) => join(folder, file)),
    );
  }
  for (const path of temps) await rm(path, { recursive: true, force: true });
  return temps.length;
}

/** The size of a blob as its record tells it, and the bytes it takes; undefined when it is not there as such. */
export async function allocatedBytesOf(path: string, lengthBytes: number): Promise<number | undefined> {
  try {
    const found = await lstat(path);
    return found.isFile() && found.size === lengthBytes ? Math.max(512, diskBytesOf(found)) : undefined;
  } catch {
    return undefined;
  }
}

/** Bytes and inodes that image bytes take, downloads under way included. */
export async function measure(layout: StoreLayout): Promise<{ usedBytes: number; usedInodes: number }> {
  let usedBytes = 0;
  let usedInodes = 0;
  for (const folder of [layout.blobsPath, layout.partialPath]) {
    for (const file of await readdir(folder)) {
      const found = await lstat(join(folder, file)).catch(() => undefined); // gone since
      if (found === undefined) continue;
      usedBytes += diskBytesOf(found);
      usedInodes++;
    }
  }
  return { usedBytes, usedInodes };
}

async function makeFolder(path: string, mode: number): Promise<void> {
  await mkdir(path, { recursive: true, mode });
  await setMode(path, mode); // whatever the umask, or an earlier version
}
