// The image store: downloads, checks and keeps disk images on the node, and knows who uses them.

import { mountPointOf } from "../lib/mount-point.ts";
import type { Run } from "../lib/spawn.ts";
import { Turns } from "../lib/turns.ts";
import type { ImageDigest, MachineId } from "../model/ids.ts";
import type { Image } from "../model/image.ts";
import type { ImagePull, PullCaller } from "../model/image-pull.ts";
import { formatReference, parseReference } from "../model/image-reference.ts";
import type { RegistryCredentials } from "../model/registry-credentials.ts";
import type { Clock } from "../ports/clock.ts";
import type { FilesystemUsage, ImageStore } from "../ports/image-store.ts";
import type { Logger } from "../ports/logger.ts";
import { Catalog } from "./catalog.ts";
import { freeShareOf, SpaceLedger } from "./disk-space.ts";
import { layoutOf, makeFolders, measure, type StoreLayout } from "./layout.ts";
import { fingerprintOf } from "./oci/credentials.ts";
import type { ImageOptions } from "./options.ts";
import { PartialFolder } from "./partial.ts";
import type { PullMeter, PullProgress } from "./progress.ts";
import { pullFromRegistry } from "./pull-from-registry.ts";
import { type PullParts, pullFromWeb } from "./pull-from-web.ts";
import { type PullObserver, Pulls } from "./pulls.ts";
import { restore } from "./restore.ts";
import { Shelf, type ShelfParts } from "./shelf.ts";
import { readSignaturePolicy, type SignaturePolicy } from "./signatures/policy.ts";
import { checkNames, limitBacktracking, sourceOf } from "./translation.ts";

/** How long what is left of a cut download is kept for whoever goes on with it. */
const PARTIAL_MAX_AGE_MS = 7 * 24 * 60 * 60 * 1000;
/** The same where room is scarce: the kubelet comes back within five minutes, or not at all. */
const SCARCE_MAX_AGE_MS = 10 * 60 * 1000;
/** Of the file system: more than the kubelet begins to evict at (15 %), so that no pod has to go for a dead download. */
const SCARCE_SHARE = 0.2;

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
  await makeFolders(layout, options.qemuGid);
  const signatures = await readSignaturePolicy(options.signatures);
  const catalog = new Catalog(options.pinned, signatures);
  const unreadableHolds = await restore(layout, catalog, parts.log);
  const untrusted = catalog.untrustedNames().length;
  if (untrusted > 0)
    parts.log.warn("images wait to be pulled again: images.signatures wants them checked", { untrusted });
  const store = new DiskImageStore(options, parts, { ...parts, layout, catalog, unreadableHolds }, signatures);
  await store.collectPartials();
  return store;
}

class DiskImageStore implements ImageStore, AsyncDisposable {
  readonly #options: ImageOptions;
  readonly #layout: StoreLayout;
  readonly #catalog: Catalog;
  readonly #signatures: SignaturePolicy;
  readonly #shelf: Shelf;
  readonly #fetching: Omit<PullParts, "meter">;
  readonly #pulls: Pulls;

  constructor(options: ImageOptions, parts: ImageStoreParts, shelf: ShelfParts, signatures: SignaturePolicy) {
    const { layout, catalog } = shelf;
    this.#options = options;
    this.#layout = layout;
    this.#catalog = catalog;
    this.#signatures = signatures;
    this.#shelf = new Shelf(shelf);
    const ledger = new SpaceLedger(layout.rootPath);
    const partials = new PartialFolder(layout.partialPath);
    const turns = new Turns(options.maxParallelDownloads);
    this.#fetching = { ...parts, options, layout, ledger, partials, turns, catalog, shelf: this.#shelf };
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
      const work = async (parts: PullParts, shared: AbortSignal) => pullFromWeb(parts, image, source, shared);
      return this.#run({ key, image }, work, caller, signal);
    }
    const { target } = source;
    const demand = this.#signatures.demandOn(reference);
    const work = async (parts: PullParts, shared: AbortSignal) =>
      pullFromRegistry(parts, { image, target, credentials, demand }, shared);
    return this.#run({ key: `${key} ${fingerprintOf(credentials)}`, image }, work, caller, signal);
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
    await this.#shelf.remove(reference, signal);
  }

  async hold(digest: ImageDigest, machineId: MachineId, signal: AbortSignal): ReturnType<ImageStore["hold"]> {
    return this.#shelf.hold(digest, machineId, signal);
  }

  async release(machineId: MachineId, signal: AbortSignal): Promise<void> {
    await this.#shelf.release(machineId, signal);
  }

  async usage(): Promise<FilesystemUsage> {
    await this.collectPartials();
    return { mountpoint: await mountPointOf(this.#layout.rootPath), ...(await measure(this.#layout)) };
  }

  /** What cut downloads left stays for those who come back soon. */
  async collectPartials(): Promise<void> {
    const { partials, clock, log } = this.#fetching;
    const isScarce = (await freeShareOf(this.#layout.rootPath)) < SCARCE_SHARE;
    const maxAgeMs = isScarce ? SCARCE_MAX_AGE_MS : PARTIAL_MAX_AGE_MS;
    const files = await partials.collect({ olderThanMs: clock.nowMs() - maxAgeMs });
    if (files > 0) log.info("unfinished downloads removed", { files });
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#pulls.abortAll(new DOMException("the image store is closing", "AbortError"));
  }

  async #run(
    about: { readonly key: string; readonly image: string },
    work: (parts: PullParts, signal: AbortSignal) => Promise<Image>,
    caller: PullCaller,
    signal: AbortSignal,
  ): Promise<Image> {
    const collectAndWork = async (meter: PullMeter, shared: AbortSignal): Promise<Image> => {
      await this.collectPartials();
      return work({ ...this.#fetching, meter }, shared);
    };
    return this.#pulls.run(about, collectAndWork, caller, signal);
  }
}
