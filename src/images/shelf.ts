// What is kept: blobs, the names that mean them, and the machines that run from them. On disk first, then in the catalog.

import { rename, rm } from "node:fs/promises";
import { join } from "node:path";
import { syncFolder, writeFileAtomically } from "../lib/atomic-file.ts";
import { KeyedLock } from "../lib/keyed-lock.ts";
import { VmletError } from "../model/failure.ts";
import type { ImageDigest, MachineId } from "../model/ids.ts";
import type { Image } from "../model/image.ts";
import type { Clock } from "../ports/clock.ts";
import type { Logger } from "../ports/logger.ts";
import type { Catalog } from "./catalog.ts";
import { asDiskFull } from "./disk-space.ts";
import { allocatedBytesOf, type StoreLayout } from "./layout.ts";
import { type BlobFacts, encodeRecord, type HoldRecord, holdFileOf, type NameRecord, nameFileOf } from "./records.ts";

/** A name, without what it means and since when. */
export type Naming = Omit<NameRecord, "v" | "blob" | "pulledAtMs">;

export interface ShelfParts {
  readonly layout: StoreLayout;
  readonly catalog: Catalog;
  /** Files of holds that do not tell what they hold: until they are released nothing may be deleted. */
  readonly unreadableHolds: ReadonlySet<string>;
  readonly clock: Clock;
  readonly log: Logger;
}

/**
 * INVARIANTS: a change is on disk before it is in the catalog; every change of names, holds and blobs is made under
 * the one lock; a blob is deleted only when the catalog shows no name and no hold of it and every hold can be read.
 */
export class Shelf {
  readonly #layout: StoreLayout;
  readonly #catalog: Catalog;
  readonly #unreadableHolds: Set<string>;
  readonly #clock: Clock;
  readonly #log: Logger;
  readonly #lock = new KeyedLock();

  constructor({ layout, catalog, unreadableHolds, clock, log }: ShelfParts) {
    this.#layout = layout;
    this.#catalog = catalog;
    this.#unreadableHolds = new Set(unreadableHolds);
    this.#clock = clock;
    this.#log = log;
  }

  /** Takes a whole, checked, durable file in, under a name. @throws DISK_FULL */
  async publish(file: { readonly path: string; readonly blob: BlobFacts }, name: Naming, signal: AbortSignal) {
    return this.#change(async (): Promise<Image> => {
      const { digest, lengthBytes } = file.blob;
      const path = this.#layout.blobPath(digest);
      if (!(await this.isOnDisk(file.blob))) {
        await rename(file.path, path);
        await syncFolder(this.#layout.blobsPath);
      }
      this.#catalog.setBlob(digest, (await allocatedBytesOf(path, lengthBytes)) ?? lengthBytes);
      try {
        await this.#saveName(this.#recordOf(name, file.blob));
      } catch (error) {
        await this.#collect(digest);
        throw error;
      }
      this.#log.info("image pulled", { image: name.reference, digest, bytes: lengthBytes });
      return this.#catalog.imageOf(file.blob);
    }, signal);
  }

  /** What is meant may be here already: it gets the name. @param factsOf Asked when nothing else changes. */
  async nameWhatIsHere(
    name: Naming,
    factsOf: () => BlobFacts | undefined,
    signal: AbortSignal,
  ): Promise<Image | undefined> {
    return this.#change(async () => {
      const blob = factsOf();
      if (blob === undefined || !(await this.isOnDisk(blob))) return undefined;
      const before = this.#catalog.nameRecord(name.reference);
      const isNamed =
        before?.blob.digest === blob.digest &&
        before.manifest === name.manifest &&
        before.signedBy === name.signedBy &&
        before.source?.packedDigest === name.source?.packedDigest;
      if (!isNamed) await this.#saveName(this.#recordOf(name, blob));
      return this.#catalog.imageOf(blob);
    }, signal);
  }

  /** Gives the name to what another record means, with all that is known of that. */
  async nameLike(reference: string, known: () => Promise<NameRecord | undefined>, signal: AbortSignal) {
    return this.#change(async (): Promise<Image | undefined> => {
      const record = await known();
      if (record === undefined) return undefined;
      if (this.#catalog.nameRecord(reference)?.blob.digest !== record.blob.digest) {
        await this.#saveName({ ...record, reference });
      }
      return this.#catalog.imageOf(record.blob);
    }, signal);
  }

  /** As ImageStore.remove. */
  async remove(reference: string, signal: AbortSignal): Promise<void> {
    await this.#change(async () => {
      const image = this.#catalog.find(reference);
      if (image === undefined) return;
      for (const name of this.#catalog.namesOf(image.digest)) await this.#forgetName(name);
      await syncFolder(this.#layout.namesPath);
      await this.#collect(image.digest);
      this.#log.info("image removed", { image: image.digest, names: image.repoTags });
    }, signal);
  }

  /** As ImageStore.hold. */
  async hold(
    digest: ImageDigest,
    machineId: MachineId,
    signal: AbortSignal,
  ): Promise<{ readonly path: string; readonly image: Image }> {
    return this.#change(async () => {
      const before = this.#catalog.holdOf(machineId);
      if (before?.blob.digest !== digest) await this.#saveHold(digest, machineId);
      const facts = this.#catalog.factsOf(digest);
      if (facts === undefined) throw notFound(digest);
      if (before !== undefined) await this.#collect(before.blob.digest);
      return { path: this.#layout.blobPath(digest), image: this.#catalog.imageOf(facts) };
    }, signal);
  }

  /** As ImageStore.release. */
  async release(machineId: MachineId, signal: AbortSignal): Promise<void> {
    await this.#change(async () => {
      const held = this.#catalog.holdOf(machineId);
      const path = join(this.#layout.holdsPath, holdFileOf(machineId));
      await rm(path, { force: true });
      await syncFolder(this.#layout.holdsPath);
      this.#catalog.forgetHold(machineId);
      this.#unreadableHolds.delete(path);
      if (held !== undefined) await this.#collect(held.blob.digest);
    }, signal);
  }

  /** Somebody may have deleted or cut what the catalog remembers. */
  async isOnDisk({ digest, lengthBytes }: BlobFacts): Promise<boolean> {
    return (await allocatedBytesOf(this.#layout.blobPath(digest), lengthBytes)) !== undefined;
  }

  #recordOf(name: Naming, blob: BlobFacts): NameRecord {
    return { v: 1, ...name, blob, pulledAtMs: this.#clock.nowMs() };
  }

  /** Moves the name when it meant another image before. */
  async #saveName(record: NameRecord): Promise<void> {
    const before = this.#catalog.nameRecord(record.reference);
    await this.#write(join(this.#layout.namesPath, nameFileOf(record.reference)), record);
    this.#catalog.setName(record);
    if (before !== undefined) await this.#collect(before.blob.digest);
  }

  async #forgetName(reference: string): Promise<void> {
    await rm(join(this.#layout.namesPath, nameFileOf(reference)), { force: true });
    this.#catalog.forgetName(reference);
  }

  /** Only what has a name can be held anew. */
  async #saveHold(digest: ImageDigest, machineId: MachineId): Promise<void> {
    const blob = this.#catalog.images().has(digest) ? this.#catalog.factsOf(digest) : undefined;
    if (blob === undefined) throw notFound(digest);
    const record: HoldRecord = { v: 1, machineId, blob };
    const path = join(this.#layout.holdsPath, holdFileOf(machineId));
    await this.#write(path, record);
    this.#catalog.setHold(record);
    this.#unreadableHolds.delete(path);
  }

  async #write(path: string, record: NameRecord | HoldRecord): Promise<void> {
    const text = encodeRecord(record);
    try {
      await writeFileAtomically(path, text);
    } catch (error) {
      throw await asDiskFull(error, this.#layout.rootPath, text.length);
    }
  }

  /** Deletes the bytes if nobody needs them any more. */
  async #collect(digest: ImageDigest): Promise<void> {
    if (this.#catalog.isUsed(digest)) return;
    if (this.#unreadableHolds.size > 0) {
      this.#log.warn("image bytes kept because a hold cannot be read", { image: digest });
      return;
    }
    await rm(this.#layout.blobPath(digest), { force: true });
    await syncFolder(this.#layout.blobsPath);
    this.#catalog.forgetBlob(digest);
    this.#log.info("image bytes deleted", { image: digest });
  }

  async #change<T>(work: () => Promise<T>, signal: AbortSignal): Promise<T> {
    return this.#lock.run("shelf", work, signal);
  }
}

function notFound(digest: ImageDigest): VmletError {
  return new VmletError(
    { code: "IMAGE_NOT_FOUND", image: digest },
    `image ${digest} is not on this node; pull it first`,
  );
}
