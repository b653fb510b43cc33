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
import { readManifest } from "../oci/manifest-bytes.ts";
import type { OciTarget } from "../oci/name.ts";
import { type RegistryClient, readAll } from "../oci/registry-client.ts";

export type Attached =
  /** `layer` is the signed JSON; the text is its signature, in base64. */
  | { readonly kind: "message"; readonly layer: Descriptor; readonly signature: string }
  /** `layer` has everything. */
  | { readonly kind: "bundle"; readonly layer: Descriptor };

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

const annotations = z.record(z.string(), z.unknown()).nullish();
const withLayers = z.object({ layers: z.array(z.unknown()) });
const layerOfSignature = descriptor.extend({ annotations });
const withManifests = z.object({ manifests: z.array(z.unknown()) });
const referrer = descriptor.extend({ annotations, artifactType: z.string().nullish() });

/** @throws IMAGE_SOURCE_REFUSED IMAGE_SOURCE_UNAVAILABLE IMAGE_DIGEST_MISMATCH, and whatever `spend` does */
export async function* attachedTo(asked: Asked, signal: AbortSignal): AsyncGenerator<Attached> {
  const hex = asked.digest.slice("sha256:".length);
  yield* signaturesIn(await ifThere(asked, { tag: `sha256-${hex}.sig` }, signal));
  const list = (await referrersOf(asked, signal)) ?? (await ifThere(asked, { tag: `sha256-${hex}` }, signal));
  for (const { digest } of bundlesIn(list)) {
    asked.spend();
    yield* signaturesIn(await ifThere(asked, { digest }, signal));
  }
}

function* signaturesIn(manifest: unknown): Generator<Attached> {
  const { data } = withLayers.safeParse(manifest);
  for (const content of data?.layers ?? []) {
    const layer = layerOfSignature.safeParse(content).data;
    if (layer?.mediaType === BUNDLE_V03_MEDIA_TYPE) yield { kind: "bundle", layer };
    const signature = layer?.annotations?.[SIGNATURE_ANNOTATION];
    if (layer?.mediaType === MESSAGE_LAYER && typeof signature === "string")
      yield { kind: "message", layer, signature };
  }
}

function bundlesIn(list: unknown): readonly Descriptor[] {
  const { data } = withManifests.safeParse(list);
  const referrers = (data?.manifests ?? []).flatMap((content) => referrer.safeParse(content).data ?? []);
  return referrers.filter(
    (own) =>
      ARTIFACT_TYPES.includes(own.artifactType ?? "") &&
      (own.annotations?.[PREDICATE_ANNOTATION] ?? SIGN_PREDICATE) === SIGN_PREDICATE,
  );
}

/** Undefined: the registry keeps no such lists. */
async function referrersOf({ digest, client }: Asked, signal: AbortSignal): Promise<unknown> {
  try {
    const { answer, url } = await client.get(`referrers/${digest}`, {}, signal);
    return jsonOf(await readAll({ answer, url }, client.profile, MAX_MANIFEST_BYTES, signal));
  } catch (error) {
    if (isOfSource(error) && error.failure.code !== "IMAGE_SOURCE_UNAVAILABLE") return undefined;
    throw error;
  }
}

async function ifThere(
  { image, client }: Asked,
  manifest: OciTarget["manifest"],
  signal: AbortSignal,
): Promise<unknown> {
  try {
    return jsonOf((await readManifest(image, client, manifest, signal)).bytes);
  } catch (error) {
    if (failsWith(error, "IMAGE_NOT_FOUND")) return undefined;
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
