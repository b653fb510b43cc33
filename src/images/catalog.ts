// What the store knows, in memory: names, holds and blobs, and the images that follow from them.

import type { ImageDigest, MachineId } from "../model/ids.ts";
import { isImageDigest } from "../model/ids.ts";
import type { Image } from "../model/image.ts";
import { formatReference, type ImageReference, parseReference } from "../model/image-reference.ts";
import { type BlobFacts, type HoldRecord, type NameRecord } from "./records.ts";

const DIGEST_PREFIX = /^(?:sha256:)?([0-9a-f]{12,64})$/;

/** Pure bookkeeping: whoever changes a record on disk says so here afterwards. */
export class Catalog {
  readonly #pinned: ReadonlySet<string>;
  readonly #names = new Map<string, NameRecord>();
  readonly #holds = new Map<MachineId, HoldRecord>();
  /** Bytes on disk of every blob that is there. */
  readonly #blobSizes = new Map<ImageDigest, number>();
  #images: ReadonlyMap<ImageDigest, Image> | undefined;

  /** @param pinned References as parseReference takes them. */
  constructor(pinned: readonly string[]) {
    this.#pinned = new Set(pinned.map((text) => formatReference(parseReference(text))));
  }

  setBlob(digest: ImageDigest, sizeBytes: number): void {
    this.#blobSizes.set(digest, sizeBytes);
    this.#images = undefined;
  }

  forgetBlob(digest: ImageDigest): void {
    this.#blobSizes.delete(digest);
    this.#images = undefined;
  }

  hasBlob(digest: ImageDigest): boolean {
    return this.#blobSizes.has(digest);
  }

  setName(record: NameRecord): void {
    this.#names.set(record.reference, record);
    this.#images = undefined;
  }

  forgetName(reference: string): void {
    this.#names.delete(reference);
    this.#images = undefined;
  }

  nameRecord(reference: string): NameRecord | undefined {
    return this.#names.get(reference);
  }

  /** The newest of the records whose bytes came from there. */
  recordFrom(url: string): NameRecord | undefined {
    const records = [...this.#names.values()].filter(({ source }) => source?.url === url);
    return records.toSorted((one, other) => one.pulledAtMs - other.pulledAtMs).at(-1);
  }

  namesOf(digest: ImageDigest): readonly string[] {
    return this.#recordsOf(digest).map(({ reference }) => reference);
  }

  setHold(record: HoldRecord): void {
    this.#holds.set(record.machineId, record);
  }

  forgetHold(machineId: MachineId): void {
    this.#holds.delete(machineId);
  }

  holdOf(machineId: MachineId): HoldRecord | undefined {
    return this.#holds.get(machineId);
  }

  /** What is known of a blob that a name or a hold keeps. */
  factsOf(digest: ImageDigest): BlobFacts | undefined {
    const records = [...this.#names.values(), ...this.#holds.values()];
    return records.find(({ blob }) => blob.digest === digest)?.blob;
  }

  /** What is known of that which a registry calls by this digest. */
  recordOfManifest(manifest: ImageDigest): NameRecord | undefined {
    return [...this.#names.values()].find((record) => record.manifest === manifest);
  }

  /** What was in the packed bytes that hash to this. */
  factsOfPacked(digest: ImageDigest): BlobFacts | undefined {
    return [...this.#names.values()].find(({ source }) => source?.packedDigest === digest)?.blob;
  }

  isUsed(digest: ImageDigest): boolean {
    return this.factsOf(digest) !== undefined;
  }

  /** The image as callers see it; one that only a hold keeps has no names. */
  imageOf(facts: BlobFacts): Image {
    const records = this.#recordsOf(facts.digest);
    const references = records.map(({ reference }) => parseReference(reference));
    const repoDigests = records.map((record) => `${parseReference(record.reference).name}@${pinOf(record)}`);
    const pulledAtMs = Math.max(...records.map((record) => record.pulledAtMs));
    return {
      digest: facts.digest,
      format: facts.format,
      sizeBytes: this.#blobSizes.get(facts.digest) ?? facts.lengthBytes,
      virtualSizeBytes: facts.virtualSizeBytes,
      repoTags: references.filter(hasNoDigest).map(formatReference).toSorted(),
      repoDigests: [...new Set(repoDigests)].toSorted(),
      user: userOf(records),
      isPinned: this.namesOf(facts.digest).some((reference) => this.#pinned.has(reference)),
      ...(records.length === 0 ? {} : { pulledAtMs }),
    };
  }

  /** Every image with a name, by digest. */
  images(): ReadonlyMap<ImageDigest, Image> {
    this.#images ??= new Map([...this.#names.values()].map(({ blob }) => [blob.digest, this.imageOf(blob)]));
    return this.#images;
  }

  /** By name (with or without tag), name@digest, digest, or digest prefix of 12 or more characters. */
  find(text: string): Image | undefined {
    if (isImageDigest(text)) return this.images().get(text);
    return this.#findByName(text) ?? this.#findByPrefix(text);
  }

  #findByName(text: string): Image | undefined {
    const reference = parsed(text);
    if (reference === undefined) return undefined;
    const { name, digest } = reference;
    if (digest === undefined) {
      const record = this.#names.get(formatReference(reference));
      return record === undefined ? undefined : this.images().get(record.blob.digest);
    }
    const pinned = `${name}@${digest}`;
    return [...this.images().values()].find(({ repoDigests }) => repoDigests.includes(pinned));
  }

  #recordsOf(digest: ImageDigest): readonly NameRecord[] {
    return [...this.#names.values()].filter(({ blob }) => blob.digest === digest);
  }

  /** An ambiguous prefix means nothing. */
  #findByPrefix(text: string): Image | undefined {
    const prefix = DIGEST_PREFIX.exec(text)?.[1];
    if (prefix === undefined) return undefined;
    const found = [...this.images().values()].filter(({ digest }) => digest.startsWith(`sha256:${prefix}`));
    return found.length === 1 ? found[0] : undefined;
  }
}

/** What a pin on this name has to say. */
const pinOf = ({ manifest, source, blob }: NameRecord): ImageDigest => manifest ?? source?.packedDigest ?? blob.digest;

/** One disk may be in several images: a user that not all of them name is nobody's word. */
function userOf(records: readonly NameRecord[]): string {
  const [user = "", ...others] = new Set(records.map((record) => record.user ?? ""));
  return others.length === 0 ? user : "";
}

const hasNoDigest = ({ digest }: ImageReference): boolean => digest === undefined;

function parsed(text: string): ImageReference | undefined {
  try {
    return parseReference(text);
  } catch {
    return undefined; // asked for by a name that no image can have
  }
}
