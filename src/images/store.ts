// The image store: downloads, checks and keeps disk images on the node, and knows who uses them.

import { rename, rm } from "node:fs/promises";
import { join } from "node:path";
import { syncFolder, writeFileAtomically } from "../lib/atomic-file.ts";
import { KeyedLock } from "../lib/keyed-lock.ts";
import type { Run } from "../lib/spawn.ts";
import { VmletError } from "../model/failure.ts";
import type { ImageDigest, MachineId } from "../model/ids.ts";
import type { Image } from "../model/image.ts";
import { formatReference, type ImageReference, parseReference } from "../model/image-reference.ts";
import type { Clock } from "../ports/clock.ts";
import type { FilesystemUsage, ImageStore } from "../ports/image-store.ts";
import type { Logger } from "../ports/logger.ts";
import { Catalog } from "./catalog.ts";
import { asDiskFull, SpaceLedger } from "./disk-space.ts";
import { JoinedWork } from "./joined-work.ts";
import { allocatedBytesOf, layoutOf, makeFolders, measure, type StoreLayout } from "./layout.ts";
import type { ImageOptions } from "./options.ts";
import type { ReceivedFile } from "./partial.ts";
import type { PullProgress } from "./progress.ts";
import { type FetchParts, fetchImage } from "./pull.ts";
import { type BlobFacts, encodeRecord, type HoldRecord, holdFileOf, type NameRecord, nameFileOf } from "./records.ts";
import { restore } from "./restore.ts";
import { checkNames, type ImageSource, limitBacktracking, sourceOf } from "./translation.ts";

export interface ImageStoreParts {
  readonly run: Run;
  readonly clock: Clock;
  readonly log: Logger;
  /** Told at most once a second for each download, and at its end. */
  readonly onProgress?: (progress: PullProgress) => void;
}

/**
 * Opens the store in `options.rootPath`, taking up what the last run left: broken records are logged, cut downloads
 * and bytes that nobody needs are removed. Dispose it to abort its downloads.
 */
export async function openImageStore(
  options: ImageOptions,
  parts: ImageStoreParts,
  signal: AbortSignal,
): Promise<ImageStore & AsyncDisposable> {
  signal.throwIfAborted();
  checkNames(options);
  limitBacktracking();
  const layout = layoutOf(options.rootPath);
  await makeFolders(layout);
  const catalog = new Catalog(options.pinned);
  const unreadableHolds = await restore(layout, catalog, parts.log);
  return new DiskImageStore(options, parts, layout, catalog, unreadableHolds);
}

/**
 * INVARIANTS: a change is on disk before it is in the catalog; every change of names, holds and blobs is made under
 * the one lock; a blob is deleted only when the catalog shows no name and no hold of it and every hold can be read.
 */
class DiskImageStore implements ImageStore, AsyncDisposable {
  readonly #options: ImageOptions;
  readonly #parts: ImageStoreParts;
  readonly #layout: StoreLayout;
  readonly #catalog: Catalog;
  /** Files of holds that do not tell what they hold: until they are released nothing may be deleted. */
  readonly #unreadableHolds: Set<string>;
  readonly #fetching: FetchParts;
  readonly #lock = new KeyedLock();
  readonly #pulls = new JoinedWork<Image>();

  constructor(
    options: ImageOptions,
    parts: ImageStoreParts,
    layout: StoreLayout,
    catalog: Catalog,
    unreadableHolds: ReadonlySet<string>,
  ) {
    this.#options = options;
    this.#parts = parts;
    this.#layout = layout;
    this.#catalog = catalog;
    this.#unreadableHolds = new Set(unreadableHolds);
    this.#fetching = { ...parts, options, layout, ledger: new SpaceLedger(layout.rootPath) };
  }

  async pull(text: string, signal: AbortSignal): Promise<Image> {
    const reference = parseReference(text);
    const source = sourceOf(reference, this.#options);
    const key = `${reference.name}:${reference.tag ?? ""}@${reference.digest ?? ""}`;
    return this.#pulls.run(key, async (shared) => this.#pull(reference, source, shared), signal);
  }

  find(reference: string): Image | undefined {
    return this.#catalog.find(reference);
  }

  list(): readonly Image[] {
    return [...this.#catalog.images().values()];
  }

  async remove(reference: string, signal: AbortSignal): Promise<void> {
    await this.#change(async () => {
      const image = this.#catalog.find(reference);
      if (image === undefined) return;
      for (const name of this.#catalog.namesOf(image.digest)) await this.#forgetName(name);
      await syncFolder(this.#layout.namesPath);
      await this.#collect(image.digest);
      this.#parts.log.info("image removed", { image: image.digest, names: image.repoTags });
    }, signal);
  }

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

  async usage(): Promise<FilesystemUsage> {
    return { mountpoint: this.#layout.rootPath, ...(await measure(this.#layout)) };
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#pulls.abortAll(new DOMException("the image store is closing", "AbortError"));
  }

  async #pull(reference: ImageReference, source: ImageSource, signal: AbortSignal): Promise<Image> {
    const name = formatReference(reference);
    const present = await this.#nameWhatIsHere(name, source, signal);
    if (present !== undefined) return present;
    const record = this.#catalog.nameRecord(name);
    const known = record !== undefined && (await this.#isOnDisk(record.blob)) ? record : undefined;
    const fetched = await fetchImage(this.#fetching, name, source, known, signal);
    if (fetched.kind === "received") {
      await using file = fetched.file;
      const current = recordOf(name, file, source, fetched.validators, this.#parts.clock.nowMs());
      return await this.#change(async () => this.#publish(file, current), signal); // `file` must live until then
    }
    // Removed while the server was asked: it is wanted again.
    return this.find(name) ?? this.#pull(reference, source, signal);
  }

  /** A pin tells the bytes before they are fetched: they may be here already. */
  async #nameWhatIsHere(name: string, source: ImageSource, signal: AbortSignal): Promise<Image | undefined> {
    const { pin, url } = source;
    if (pin === undefined) return undefined;
    return this.#change(async () => {
      const blob = this.#catalog.factsOf(pin);
      if (blob === undefined || !(await this.#isOnDisk(blob))) return undefined;
      const pulledAtMs = this.#parts.clock.nowMs();
      const isNamed = this.#catalog.nameRecord(name)?.blob.digest === pin;
      if (!isNamed) await this.#saveName({ v: 1, reference: name, blob, pulledAtMs, source: { url: url.href } });
      return this.#catalog.imageOf(blob);
    }, signal);
  }

  async #publish(file: ReceivedFile, record: NameRecord): Promise<Image> {
    const { digest, lengthBytes } = record.blob;
    const path = this.#layout.blobPath(digest);
    if (!(await this.#isOnDisk(record.blob))) {
      await rename(file.path, path);
      await syncFolder(this.#layout.blobsPath);
      this.#catalog.setBlob(digest, (await allocatedBytesOf(path, lengthBytes)) ?? lengthBytes);
    }
    try {
      await this.#saveName(record);
    } catch (error) {
      await this.#collect(digest);
      throw error;
    }
    this.#parts.log.info("image pulled", { image: record.reference, digest, bytes: lengthBytes });
    return this.#catalog.imageOf(record.blob);
  }

  /** Somebody may have deleted or cut what the catalog remembers. */
  async #isOnDisk({ digest, lengthBytes }: BlobFacts): Promise<boolean> {
    return (await allocatedBytesOf(this.#layout.blobPath(digest), lengthBytes)) !== undefined;
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
      this.#parts.log.warn("image bytes kept because a hold cannot be read", { image: digest });
      return;
    }
    await rm(this.#layout.blobPath(digest), { force: true });
    await syncFolder(this.#layout.blobsPath);
    this.#catalog.forgetBlob(digest);
    this.#parts.log.info("image bytes deleted", { image: digest });
  }

  async #change<T>(work: () => Promise<T>, signal: AbortSignal): Promise<T> {
    return this.#lock.run("store", work, signal);
  }
}

function recordOf(
  reference: string,
  { blob }: ReceivedFile,
  { url }: ImageSource,
  validators: { readonly etag?: string; readonly lastModified?: string },
  pulledAtMs: number,
): NameRecord {
  return { v: 1, reference, blob, pulledAtMs, source: { url: url.href, ...validators } };
}

function notFound(digest: ImageDigest): VmletError {
  return new VmletError(
    { code: "IMAGE_NOT_FOUND", image: digest },
    `image ${digest} is not on this node; pull it first`,
  );
}
