// A pull from a web server: asks whether anything changed, downloads what did, and keeps it under its name.

import type { ImageDigest } from "../model/ids.ts";
import type { Image } from "../model/image.ts";
import type { Validators } from "./byte-source.ts";
import type { Catalog } from "./catalog.ts";
import { httpSource } from "./http-source.ts";
import { PROFILE_DEFAULTS } from "./options.ts";
import { type Fetched, type FetchParts, withImage } from "./pull.ts";
import type { NameRecord } from "./records.ts";
import type { Shelf } from "./shelf.ts";
import type { HttpSource } from "./translation.ts";

export interface PullParts extends FetchParts {
  readonly catalog: Catalog;
  readonly shelf: Shelf;
}

/** @param image `name:tag` or `name@digest`. @throws as ImageStore.pull */
export async function pullFromWeb(
  parts: PullParts,
  image: string,
  source: HttpSource,
  signal: AbortSignal,
): Promise<Image> {
  const { options, shelf } = parts;
  const { pin, url } = source;
  const file = {
    image,
    url,
    profile: options.profiles[source.profile] ?? PROFILE_DEFAULTS,
    // What is here of a file does not hash to a pin, or it had been found by that: "unchanged" says nothing then.
    ...(pin === undefined ? { known: async () => validatorsOf(await knownFrom(url, parts)) } : { pin }),
  };
  const wanted = {
    image,
    source: httpSource(file),
    present: async () => (pin === undefined ? undefined : namePinned(image, url, pin, parts, signal)),
    keep: async (fetched: Fetched) =>
      fetched.kind === "received"
        ? shelf.publish(fetched, { reference: image, source: sourceRecord(url, fetched) }, signal)
        : shelf.nameLike(image, async () => knownFrom(url, parts), signal),
  };
  // Nothing: removed while the server was asked, and wanted again.
  return (await withImage(parts, wanted, signal)) ?? pullFromWeb(parts, image, source, signal);
}

/** What is here of that file, under whatever name. */
async function knownFrom(url: URL, { catalog, shelf }: PullParts): Promise<NameRecord | undefined> {
  const record = catalog.recordFrom(url.href);
  return record !== undefined && (await shelf.isOnDisk(record.blob)) ? record : undefined;
}

/** A pin names the file, or what was packed in it. */
async function namePinned(
  reference: string,
  url: URL,
  pin: ImageDigest,
  { catalog, shelf }: PullParts,
  signal: AbortSignal,
): Promise<Image | undefined> {
  const packed = catalog.factsOf(pin) === undefined ? { packedDigest: pin } : {};
  const facts = () => catalog.factsOf(pin) ?? catalog.factsOfPacked(pin);
  return shelf.nameWhatIsHere({ reference, source: { url: url.href, ...packed } }, facts, signal);
}

function sourceRecord(
  url: URL,
  { validators, packedDigest }: Extract<Fetched, { kind: "received" }>,
): NameRecord["source"] {
  return { url: url.href, ...validators, ...(packedDigest === undefined ? {} : { packedDigest }) };
}

/** Without any there is nothing to ask by. */
function validatorsOf(record: NameRecord | undefined): Validators | undefined {
  const { etag, lastModified } = record?.source ?? {};
  if (etag !== undefined) return { etag };
  return lastModified === undefined ? undefined : { lastModified };
}
