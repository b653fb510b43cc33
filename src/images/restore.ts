// The first thing a start does: read what is on disk, report what is broken, remove what nobody needs.

import { readdir, rm } from "node:fs/promises";
import { join } from "node:path";
import { isImageDigest } from "../model/ids.ts";
import type { Logger } from "../ports/logger.ts";
import type { Catalog } from "./catalog.ts";
import { allocatedBytesOf, removeTemps, type StoreLayout } from "./layout.ts";
import { type BlobFacts, loadHolds, loadNames } from "./records.ts";

/**
 * Fills the catalog.
 * @returns paths of holds that cannot be read: whatever they hold must stay.
 */
export async function restore(layout: StoreLayout, catalog: Catalog, log: Logger): Promise<ReadonlySet<string>> {
  const temps = await removeTemps(layout);
  if (temps > 0) log.info("unfinished records removed", { files: temps });
  const names = await loadNames(layout.namesPath);
  const holds = await loadHolds(layout.holdsPath);
  for (const { path, error } of names.unreadable) {
    log.error("image name record is broken: pull the image again, or remove the file", { path, error });
  }
  for (const { path, error } of holds.unreadable) {
    log.error("image hold record is broken: no image bytes are deleted until its machine is removed", { path, error });
  }
  for (const record of holds.records) {
    if (await findBlob(layout, catalog, record.blob)) catalog.setHold(record);
    else log.error("image bytes of a machine are gone", { machine: record.machineId, image: record.blob.digest });
  }
  for (const record of names.records) {
    if (await findBlob(layout, catalog, record.blob)) catalog.setName(record);
    else log.warn("image bytes are gone: pull the image again", { image: record.reference });
  }
  if (names.unreadable.length + holds.unreadable.length === 0) await removeOrphans(layout, catalog, log);
  return new Set(holds.unreadable.map(({ path }) => path));
}

async function findBlob(layout: StoreLayout, catalog: Catalog, blob: BlobFacts): Promise<boolean> {
  if (catalog.hasBlob(blob.digest)) return true;
  const sizeBytes = await allocatedBytesOf(layout.blobPath(blob.digest), blob.lengthBytes);
  if (sizeBytes !== undefined) catalog.setBlob(blob.digest, sizeBytes);
  return sizeBytes !== undefined;
}

async function removeOrphans(layout: StoreLayout, catalog: Catalog, log: Logger): Promise<void> {
  for (const file of await readdir(layout.blobsPath)) {
    const digest = `sha256:${file}`;
    if (isImageDigest(digest) && catalog.isUsed(digest)) continue;
    await rm(join(layout.blobsPath, file), { recursive: true, force: true });
    log.info("image bytes deleted", { image: digest });
  }
}
