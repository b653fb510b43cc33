// A manifest as it was pushed: the bytes that its digest is of.

import { createHash } from "node:crypto";
import { type ImageDigest, isImageDigest } from "../../model/ids.ts";
import { refused } from "../http-errors.ts";
import { headerOf } from "../transport.ts";
import { wrongDigest } from "./errors.ts";
import { ACCEPTED_MANIFESTS } from "./manifest.ts";
import type { OciTarget } from "./name.ts";
import { type RegistryClient, readAll } from "./registry-client.ts";

export interface ManifestBytes {
  readonly digest: ImageDigest;
  readonly bytes: Buffer;
  /** As the server names it. */
  readonly contentType: string;
}

/**
 * One document from one place, verified as far as the question goes.
 * @throws IMAGE_NOT_FOUND IMAGE_DIGEST_MISMATCH IMAGE_SOURCE_REFUSED IMAGE_SOURCE_UNAVAILABLE
 */
export async function fetchManifest(
  image: string,
  client: RegistryClient,
  manifest: OciTarget["manifest"],
  maxBytes: number,
  signal: AbortSignal,
): Promise<ManifestBytes> {
  const wanted = "digest" in manifest ? manifest.digest : undefined;
  const path = `manifests/${"digest" in manifest ? manifest.digest : manifest.tag}`;
  const { answer, url } = await client.get(path, { accept: ACCEPTED_MANIFESTS }, signal);
  const bytes = await readAll({ answer, url }, client.profile, maxBytes, signal);
  const digest = `sha256:${createHash("sha256").update(bytes).digest("hex")}`;
  if (!isImageDigest(digest)) throw new Error("unreachable: a sha256 is a digest");
  // With a tag the header is a hint; one that differs shows that something on the way changed the bytes.
  const told = headerOf(answer, "docker-content-digest");
  const expected = wanted ?? (isImageDigest(told) ? told : digest);
  if (expected !== digest) throw wrongDigest(image, "the manifest", expected, digest);
  if (answer.statusCode !== 200) throw refused(url, answer.statusCode, "answers with a part of the manifest");
  return { digest, bytes, contentType: headerOf(answer, "content-type") };
}
