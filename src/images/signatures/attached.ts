// What is attached to an image in its registry and may be a signature:
//   the tag sha256-<hex>.sig       an image whose layers are signed messages (cosign 1 and 2, skopeo)
//   referrers/<digest>             a list of artifacts about the image: bundles (cosign 3), or the same messages
//   the tag sha256-<hex>           that list, where the registry keeps none (OCI distribution 1.1, "Referrers Tag Schema")

import { BUNDLE_V03_MEDIA_TYPE } from "@sigstore/bundle";
import { z } from "zod";
import { failsWith } from "../../model/failure.ts";
import type { ImageDigest } from "../../model/ids.ts";
import { isOfSource } from "../oci/errors.ts";
import { type Descriptor, descriptor, MAX_MANIFEST_BYTES } from "../oci/manifest.ts";
import { fetchManifest } from "../oci/manifest-bytes.ts";
import type { OciTarget } from "../oci/name.ts";
import { type RegistryClient, readAll } from "../oci/registry-client.ts";
import { headerOf } from "../transport.ts";

export type Attached =
  /** `layer` is the signed JSON; the text is its signature, in base64. */
  | { readonly kind: "message"; readonly layer: Descriptor; readonly signature: string }
  /** `layer` has everything. */
  | { readonly kind: "bundle"; readonly layer: Descriptor }
  /** Something may be attached that the registry does not give, for this reason. */
  | { readonly kind: "unreadable"; readonly finding: string };

/** The image that is asked about, where, and what may be spent on it. */
export interface Asked {
  /** For messages. */
  readonly image: string;
  readonly digest: ImageDigest;
  readonly client: RegistryClient;
  /** Called before each request that one more attached thing costs. @throws when there were enough */
  readonly spend: () => void;
}

const MESSAGE_LAYER = "application/vnd.dev.cosign.simplesigning.v1+json";
const SIGNATURE_ANNOTATION = "dev.cosignproject.cosign/signature";
/** What a bundle that signs an image says of itself, unproven. */
const PREDICATE_ANNOTATION = "dev.sigstore.bundle.predicateType";
const SIGN_PREDICATE = "https://sigstore.dev/cosign/sign/v1";
/** The last two are what lists made by older tools say of bundles. */
const ARTIFACT_TYPES: readonly string[] = [
  BUNDLE_V03_MEDIA_TYPE,
  "application/vnd.dev.cosign.artifact.sig.v1+json",
  "application/vnd.oci.empty.v1+json",
  "",
];

/** Entries of one list. */
const MAX_ENTRIES = 1000;
/** Of a list of referrers. */
const MAX_PAGES = 5;
/** With as many signatures as anyone reads. */
const MAX_TAG_BYTES = 1024 * 1024;
/** What names one bundle is a kilobyte. */
const MAX_REFERRER_BYTES = 128 * 1024;

const annotated = descriptor.extend({ annotations: z.unknown().optional() });
const referrer = annotated.extend({ artifactType: z.string().nullish() });

/** @throws IMAGE_SOURCE_UNAVAILABLE, and whatever `spend` does */
export async function* attachedTo(asked: Asked, signal: AbortSignal): AsyncGenerator<Attached> {
  const hex = asked.digest.slice("sha256:".length);
  yield* signaturesIn(await documentAt({ tag: `sha256-${hex}.sig` }, MAX_TAG_BYTES, asked, signal));
  for (const { digest } of await bundlesOf(hex, asked, signal)) {
    asked.spend();
    yield* signaturesIn(await documentAt({ digest }, MAX_REFERRER_BYTES, asked, signal));
  }
}

interface Answered {
  /** JSON of any kind; undefined: there is none. */
  readonly document?: unknown;
  /** Why nobody can tell whether there is one. */
  readonly finding?: string;
}

function* signaturesIn({ document, finding }: Answered): Generator<Attached> {
  if (finding !== undefined) yield { kind: "unreadable", finding };
  for (const content of entriesOf(document, "layers")) {
    const layer = annotated.safeParse(content).data;
    if (layer?.mediaType === BUNDLE_V03_MEDIA_TYPE) yield { kind: "bundle", layer };
    const signature = valueAt(layer?.annotations, SIGNATURE_ANNOTATION);
    if (layer?.mediaType === MESSAGE_LAYER && typeof signature === "string") {
      yield { kind: "message", layer, signature };
    }
  }
}

async function bundlesOf(hex: string, asked: Asked, signal: AbortSignal): Promise<readonly Descriptor[]> {
  const kept = await referrersOf(asked, signal);
  if (kept !== undefined) return kept;
  return bundlesIn((await documentAt({ tag: `sha256-${hex}` }, MAX_MANIFEST_BYTES, asked, signal)).document);
}

function bundlesIn(list: unknown): readonly Descriptor[] {
  const referrers = entriesOf(list, "manifests").flatMap((content) => referrer.safeParse(content).data ?? []);
  return referrers.filter(
    ({ artifactType, annotations }) =>
      ARTIFACT_TYPES.includes(artifactType ?? "") &&
      (valueAt(annotations, PREDICATE_ANNOTATION) ?? SIGN_PREDICATE) === SIGN_PREDICATE,
  );
}

/** Undefined: the registry keeps no such lists. */
async function referrersOf({ digest, client }: Asked, signal: AbortSignal): Promise<readonly Descriptor[] | undefined> {
  const found: Descriptor[] = [];
  let path: string | undefined = `referrers/${digest}`;
  try {
    for (let pages = 0; path !== undefined && pages < MAX_PAGES; pages++) {
      const { answer, url } = await client.get(path, {}, signal);
      const bytes = await readAll({ answer, url }, client.profile, MAX_MANIFEST_BYTES, signal);
      found.push(...bundlesIn(jsonOf(bytes)));
      path = nextPage(`referrers/${digest}`, headerOf(answer, "link"));
    }
    return found;
  } catch (error) {
    if (isOfSource(error) && error.failure.code !== "IMAGE_SOURCE_UNAVAILABLE") {
      return found.length === 0 ? undefined : found;
    }
    throw error;
  }
}

/** Only the query of where the registry points to: everything else about it is known. */
function nextPage(path: string, link: string): string | undefined {
  const query = /<[^<>?]*\?([^<>#]*)(?:#[^<>]*)?>\s*;[^<>]*\brel="?next\b/.exec(link)?.[1];
  return query === undefined ? undefined : `${path}?${query}`;
}

async function documentAt(
  manifest: OciTarget["manifest"],
  maxBytes: number,
  { image, client }: Asked,
  signal: AbortSignal,
): Promise<Answered> {
  try {
    return { document: jsonOf((await fetchManifest(image, client, manifest, maxBytes, signal)).bytes) };
  } catch (error) {
    if (failsWith(error, "IMAGE_NOT_FOUND")) return {};
    if (isOfSource(error) && error.failure.code !== "IMAGE_SOURCE_UNAVAILABLE") return { finding: error.message };
    throw error;
  }
}

function jsonOf(bytes: Buffer): unknown {
  try {
    return JSON.parse(bytes.toString("utf8"));
  } catch {
    return undefined; // like one that attaches nothing
  }
}

/** Whatever is in the list, up to a limit; nothing when it is none. */
function entriesOf(document: unknown, name: string): readonly unknown[] {
  const list = valueAt(document, name);
  return Array.isArray(list) ? list.slice(0, MAX_ENTRIES) : [];
}

const valueAt = (content: unknown, name: string): unknown =>
  typeof content === "object" && content !== null ? Object.getOwnPropertyDescriptor(content, name)?.value : undefined;
