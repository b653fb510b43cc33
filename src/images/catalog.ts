// What the store knows, in memory: names, holds and blobs, and the images that follow from them.

import type { ImageDigest, MachineId } from "../model/ids.ts";
import type { Image } from "../model/image.ts";
import { formatReference, type ImageReference, parseReference } from "../model/image-reference.ts";
import type { BlobFacts, HoldRecord, NameRecord } from "./records.ts";
import type { SignaturePolicy } from "./signatures/policy.ts";

const DIGEST_PREFIX = /^(?:sha256:)?([0-9a-f]{12,64})$/;

/** Pure bookkeeping: whoever changes a record on disk says so here afterwards. */
export class Catalog {
  readonly #pinned: ReadonlySet<string>;
  readonly #policy: Pick<SignaturePolicy, "mayBeUsed">;
  readonly #names = new Map<string, NameRecord>();
  readonly #holds = new Map<MachineId, HoldRecord>();
  /** Bytes on disk of every blob that is there. */
  readonly #blobSizes = new Map<ImageDigest, number>();
  #images: ReadonlyMap<ImageDigest, Image> | undefined;

  /** @param pinned References as parseReference takes them. */
  constructor(pinned: readonly string[], policy: Pick<SignaturePolicy, "mayBeUsed">) {
    this.#policy = policy;
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
    return this.#find(text, [...this.#names.values()]);
  }

  /**
   * The same, as if there were no other names than those that the policy lets in: what was pulled before there was one,
   * or is signed by a key that is trusted no longer, is to be pulled again.
   */
  findTrusted(text: string): Image | undefined {
    return this.#find(
      text,
      [...this.#names.values()].filter((record) => this.#isTrusted(record)),
    );
  }

  /** Names that `findTrusted` does not find. */
  untrustedNames(): readonly string[] {
    const records = [...this.#names.values()].filter((record) => !this.#isTrusted(record));
    return records.map(({ reference }) => reference);
  }

  #find(text: string, records: readonly NameRecord[]): Image | undefined {
    const found = findByDigest(text, records) ?? findByName(text, records) ?? findByPrefix(text, records);
    return found === undefined ? undefined : this.images().get(found);
  }

  #isTrusted({ reference, signedBy }: NameRecord): boolean {
    return this.#policy.mayBeUsed(parseReference(reference), signedBy);
  }

  #recordsOf(digest: ImageDigest): readonly NameRecord[] {
    return [...this.#names.values()].filter(({ blob }) => blob.digest === digest);
  }
}

const findByDigest = (text: string, records: readonly NameRecord[]): ImageDigest | undefined =>
  records.find(({ blob }) => blob.digest === text)?.blob.digest;

function findByName(text: string, records: readonly NameRecord[]): ImageDigest | undefined {
  const wanted = parsed(text);
  if (wanted === undefined) return undefined;
  const { name, digest } = wanted;
  const found =
    digest === undefined
      ? records.find(({ reference }) => reference === formatReference(wanted))
      : records.find((record) => pinOf(record) === digest && parseReference(record.reference).name === name);
  return found?.blob.digest;
}

/** An ambiguous prefix means nothing. */
function findByPrefix(text: string, records: readonly NameRecord[]): ImageDigest | undefined {
  const prefix = DIGEST_PREFIX.exec(text)?.[1];
  if (prefix === undefined) return undefined;
  const found = new Set(records.map(({ blob }) => blob.digest).filter((own) => own.startsWith(`sha256:${prefix}`)));
  return found.size === 1 ? [...found][0] : undefined;
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
