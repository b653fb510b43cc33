// The image store: downloads, checks and keeps disk images on the node, and knows who uses them.

import { rename, rm } from "node:fs/promises";
import { join } from "node:path";
import { syncFolder, writeFileAtomically } from "../lib/atomic-file.ts";
import { KeyedLock } from "../lib/keyed-lock.ts";
import { mountPointOf } from "../lib/mount-point.ts";
import type { Run } from "../lib/spawn.ts";
import { VmletError } from "../model/failure.ts";
import type { ImageDigest, MachineId } from "../model/ids.ts";
import type { Image } from "../model/image.ts";
import type { ImagePull, PullCaller } from "../model/image-pull.ts";
import { formatReference, type ImageReference, parseReference } from "../model/image-reference.ts";
import type { RegistryCredentials } from "../model/registry-credentials.ts";
import type { Clock } from "../ports/clock.ts";
import type { FilesystemUsage, ImageStore } from "../ports/image-store.ts";
import type { Logger } from "../ports/logger.ts";
import type { ByteSource, Validators } from "./byte-source.ts";
import { Catalog } from "./catalog.ts";
import { asDiskFull, SpaceLedger } from "./disk-space.ts";
import { type HttpFile, httpSource } from "./http-source.ts";
import { allocatedBytesOf, layoutOf, makeFolders, measure, type StoreLayout } from "./layout.ts";
import { fingerprintOf } from "./oci/credentials.ts";
import { withOciSource } from "./oci/fetch.ts";
import type { OciImage } from "./oci/image.ts";
import type { OciTarget } from "./oci/name.ts";
import { type ImageOptions, PROFILE_DEFAULTS } from "./options.ts";
import { PartialFolder } from "./partial.ts";
import type { PullMeter, PullProgress } from "./progress.ts";
import { type Fetched, type FetchParts, type Wanted, withImage } from "./pull.ts";
import { type PullObserver, Pulls } from "./pulls.ts";
import { type BlobFacts, encodeRecord, type HoldRecord, holdFileOf, type NameRecord, nameFileOf } from "./records.ts";
import { restore } from "./restore.ts";
import { readSignaturePolicy, type SignaturePolicy } from "./signatures/policy.ts";
import { checkNames, type HttpSource, limitBacktracking, sourceOf } from "./translation.ts";

/** How long what is left of a cut download is kept for whoever goes on with it. */
const PARTIAL_MAX_AGE_MS = 7 * 24 * 60 * 60 * 1000;

export interface ImageStoreParts {
  readonly run: Run;
  readonly clock: Clock;
  readonly log: Logger;
  /** Told at most once a second for each download, and at its end. */
  readonly onProgress?: (progress: PullProgress) => void;
  readonly observer?: PullObserver;
}

/** Whoever does not say who he is. */
const UNNAMED: PullCaller = { name: "unnamed" };

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
  const signatures = await readSignaturePolicy(options.signatures);
  const catalog = new Catalog(options.pinned, signatures);
  const unreadableHolds = await restore(layout, catalog, parts.log);
  const untrusted = catalog.untrustedNames().length;
  if (untrusted > 0)
    parts.log.warn("images wait to be pulled again: images.signatures wants them checked", { untrusted });
  const store = new DiskImageStore(options, parts, layout, catalog, unreadableHolds, signatures);
  await store.collectPartials();
  return store;
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
  readonly #signatures: SignaturePolicy;
  /** Files of holds that do not tell what they hold: until they are released nothing may be deleted. */
  readonly #unreadableHolds: Set<string>;
  readonly #fetching: Omit<FetchParts, "meter">;
  readonly #lock = new KeyedLock();
  readonly #pulls: Pulls;

  constructor(
    options: ImageOptions,
    parts: ImageStoreParts,
    layout: StoreLayout,
    catalog: Catalog,
    unreadableHolds: ReadonlySet<string>,
    signatures: SignaturePolicy,
  ) {
    this.#signatures = signatures;
    this.#options = options;
    this.#parts = parts;
    this.#layout = layout;
    this.#catalog = catalog;
    this.#unreadableHolds = new Set(unreadableHolds);
    const ledger = new SpaceLedger(layout.rootPath);
    this.#fetching = { ...parts, options, layout, ledger, partials: new PartialFolder(layout.partialPath) };
    this.#pulls = new Pulls(parts);
  }

  async pull(
    text: string,
    signal: AbortSignal,
    credentials?: RegistryCredentials,
    caller: PullCaller = UNNAMED,
  ): Promise<Image> {
    const reference = parseReference(text);
    const source = sourceOf(reference, this.#options);
    const image = formatReference(reference);
    const key = `${reference.name}:${reference.tag ?? ""}@${reference.digest ?? ""}`;
    if (source.kind === "http") {
      this.#signatures.admitUnsigned(reference);
      const work = async (meter: PullMeter, shared: AbortSignal) => this.#pull(reference, source, meter, shared);
      return this.#pulls.run({ key, image }, work, caller, signal);
    }
    const work = async (meter: PullMeter, shared: AbortSignal) =>
      this.#pullOci(reference, source.target, credentials, meter, shared);
    return this.#pulls.run({ key: `${key} ${fingerprintOf(credentials)}`, image }, work, caller, signal);
  }

  pulls(): readonly ImagePull[] {
    return this.#pulls.list();
  }

  async untilPulled(pullId: string, signal: AbortSignal): Promise<Image> {
    return this.#pulls.until(pullId, signal);
  }

  find(reference: string): Image | undefined {
    return this.#catalog.findTrusted(reference);
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
    return { mountpoint: await mountPointOf(this.#layout.rootPath), ...(await measure(this.#layout)) };
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#pulls.abortAll(new DOMException("the image store is closing", "AbortError"));
  }

  async #pull(reference: ImageReference, source: HttpSource, meter: PullMeter, signal: AbortSignal): Promise<Image> {
    const image = formatReference(reference);
    await this.collectPartials();
    const { pin, url } = source;
    const file: HttpFile = {
      image,
      url,
      profile: this.#options.profiles[source.profile] ?? PROFILE_DEFAULTS,
      known: async () => validatorsOf(await this.#knownFrom(url)),
      ...(pin === undefined ? {} : { pin }),
    };
    const wanted: Wanted<Image | undefined> = {
      image,
      source: httpSource(file),
      present: async () => (pin === undefined ? undefined : this.#namePinned(image, url, pin, signal)),
      keep: async (fetched) => this.#change(async () => this.#keep(fetched, image, source), signal),
    };
    // Nothing: removed while the server was asked, and wanted again.
    const parts = { ...this.#fetching, meter };
    return (await withImage(parts, wanted, signal)) ?? this.#pull(reference, source, meter, signal);
  }

  /** The registry is asked each time, whatever is here: it alone knows what the credentials open. */
  async #pullOci(
    reference: ImageReference,
    target: OciTarget,
    credentials: RegistryCredentials | undefined,
    meter: PullMeter,
    signal: AbortSignal,
  ): Promise<Image> {
    const image = formatReference(reference);
    const demand = this.#signatures.demandOn(reference);
    await this.collectPartials();
    const fetch = async (source: ByteSource, found: OciImage): Promise<Image | undefined> => {
      const { manifestDigest: manifest, signedBy } = found;
      const name = { reference: image, manifest, ...(signedBy === undefined ? {} : { signedBy }) };
      const known = () => this.#catalog.recordOfManifest(manifest);
      const wanted: Wanted<Image | undefined> = {
        image,
        source,
        present: async () => this.#nameWhatIsHere({ ...name, ...asSaid(known()?.user) }, () => known()?.blob, signal),
        keep: async (fetched) => {
          if (fetched.kind === "unchanged") return undefined;
          const told = { ...name, ...asSaid(await found.readUser()) };
          const record: NameRecord = { v: 1, ...told, blob: fetched.blob, pulledAtMs: this.#parts.clock.nowMs() };
          return this.#change(async () => this.#publish(fetched.path, record), signal);
        },
      };
      return withImage({ ...this.#fetching, meter }, wanted, signal);
    };
    const pulled = await withOciSource(this.#fetching, { image, target, credentials, demand }, fetch, signal);
    if (pulled === undefined) throw new Error("unreachable: a manifest's disk does not change");
    return pulled;
  }

  /** What is here of that file, under whatever name. */
  async #knownFrom(url: URL): Promise<NameRecord | undefined> {
    const record = this.#catalog.recordFrom(url.href);
    return record !== undefined && (await this.#isOnDisk(record.blob)) ? record : undefined;
  }

  async #keep(fetched: Fetched, reference: string, source: HttpSource): Promise<Image | undefined> {
    if (fetched.kind === "received") {
      const { blob, validators, packedDigest } = fetched;
      const pulledAtMs = this.#parts.clock.nowMs();
      return this.#publish(fetched.path, {
        v: 1,
        reference,
        blob,
        pulledAtMs,
        source: { url: source.url.href, ...validators, ...(packedDigest === undefined ? {} : { packedDigest }) },
      });
    }
    const known = await this.#knownFrom(source.url);
    if (known === undefined) return undefined;
    if (this.#catalog.nameRecord(reference)?.blob.digest !== known.blob.digest) {
      await this.#saveName({ ...known, reference });
    }
    return this.#catalog.imageOf(known.blob);
  }

  /** What cut downloads left stays for those who come back soon. */
  async collectPartials(): Promise<void> {
    const files = await this.#fetching.partials.collect({
      olderThanMs: this.#parts.clock.nowMs() - PARTIAL_MAX_AGE_MS,
    });
    if (files > 0) this.#parts.log.info("unfinished downloads removed", { files });
  }

  /** A pin names the file, or what was packed in it. */
  async #namePinned(reference: string, url: URL, pin: ImageDigest, signal: AbortSignal): Promise<Image | undefined> {
    const packed = this.#catalog.factsOf(pin) === undefined ? { packedDigest: pin } : {};
    const facts = () => this.#catalog.factsOf(pin) ?? this.#catalog.factsOfPacked(pin);
    return this.#nameWhatIsHere({ reference, source: { url: url.href, ...packed } }, facts, signal);
  }

  /** What is meant may be known before it is fetched, and be here already: it gets the name. */
  async #nameWhatIsHere(
    name: Pick<NameRecord, "reference" | "source" | "manifest" | "signedBy" | "user">,
    factsOf: () => BlobFacts | undefined,
    signal: AbortSignal,
  ): Promise<Image | undefined> {
    return this.#change(async () => {
      const blob = factsOf();
      if (blob === undefined || !(await this.#isOnDisk(blob))) return undefined;
      const before = this.#catalog.nameRecord(name.reference);
      const isNamed =
        before?.blob.digest === blob.digest &&
        before.manifest === name.manifest &&
        before.signedBy === name.signedBy &&
        before.source?.packedDigest === name.source?.packedDigest;
      if (!isNamed) await this.#saveName({ v: 1, ...name, blob, pulledAtMs: this.#parts.clock.nowMs() });
      return this.#catalog.imageOf(blob);
    }, signal);
  }

  async #publish(filePath: string, record: NameRecord): Promise<Image> {
    const { digest, lengthBytes } = record.blob;
    const path = this.#layout.blobPath(digest);
    if (!(await this.#isOnDisk(record.blob))) {
      await rename(filePath, path);
      await syncFolder(this.#layout.blobsPath);
    }
    this.#catalog.setBlob(digest, (await allocatedBytesOf(path, lengthBytes)) ?? lengthBytes);
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

const asSaid = (user: string | undefined): Pick<NameRecord, "user"> =>
  user === undefined || user === "" ? {} : { user };

/** Without any there is nothing to ask by. */
function validatorsOf(record: NameRecord | undefined): Validators | undefined {
  const { etag, lastModified } = record?.source ?? {};
  if (etag !== undefined) return { etag };
  return lastModified === undefined ? undefined : { lastModified };
}

function notFound(digest: ImageDigest): VmletError {
  return new VmletError(
    { code: "IMAGE_NOT_FOUND", image: digest },
    `image ${digest} is not on this node; pull it first`,
  );
}
