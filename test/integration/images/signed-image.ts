// One image that never changes, so that what a real cosign once signed of it stays signed; and pushing by hand.

import { createHash } from "node:crypto";
import { raw } from "../../fakes/disk-image.ts";

export const MANIFEST = "application/vnd.oci.image.manifest.v1+json";
export const INDEX = "application/vnd.oci.image.index.v1+json";

/** A document in a repository: a manifest under a tag or its digest, or a blob. All of them are text. */
export interface Pushed {
  readonly kind: "manifest" | "blob";
  readonly name: string;
  readonly type: string;
  readonly content: string;
}

/** @returns digests of its manifest, tagged `manifest`, and of an index that leads to that, tagged `index`. */
export async function pushImage(
  host: string,
  repository: string,
): Promise<{ readonly manifest: string; readonly index: string }> {
  const blob = async (mediaType: string, bytes: Buffer) => {
    const digest = digestOf(bytes);
    await putBlob(host, repository, digest, bytes);
    return { mediaType, digest, size: bytes.length };
  };
  const config = await blob("application/vnd.oci.image.config.v1+json", Buffer.from("{}"));
  const layer = await blob("application/vnd.lfedge.disk.layer.v1+raw", raw(2048, "signed"));
  const manifest = JSON.stringify({ schemaVersion: 2, mediaType: MANIFEST, config, layers: [layer] });
  await putManifest(host, repository, "manifest", MANIFEST, manifest);
  const entry = { mediaType: MANIFEST, digest: digestOf(manifest), size: manifest.length };
  const manifests = ["amd64", "arm64"].map((architecture) => ({ ...entry, platform: { os: "linux", architecture } }));
  const index = JSON.stringify({ schemaVersion: 2, mediaType: INDEX, manifests });
  await putManifest(host, repository, "index", INDEX, index);
  return { manifest: entry.digest, index: digestOf(index) };
}

export async function put(host: string, repository: string, { kind, name, type, content }: Pushed): Promise<void> {
  if (kind === "blob") return putBlob(host, repository, name, Buffer.from(content));
  return putManifest(host, repository, name, type, content);
}

async function putManifest(host: string, repository: string, name: string, type: string, body: string): Promise<void> {
  const url = `http://${host}/v2/${repository}/manifests/${name}`;
  await created(await fetch(url, { method: "PUT", headers: { "content-type": type }, body }));
}

async function putBlob(host: string, repository: string, digest: string, bytes: Buffer): Promise<void> {
  const begun = await fetch(`http://${host}/v2/${repository}/blobs/uploads/`, { method: "POST" });
  const url = new URL(begun.headers.get("location") ?? "", begun.url);
  url.searchParams.set("digest", digest);
  const body = new Uint8Array(bytes);
  await created(await fetch(url, { method: "PUT", headers: { "content-type": "application/octet-stream" }, body }));
}

async function created(answer: Response): Promise<void> {
  if (answer.status !== 201) throw new Error(`${answer.url} answers ${answer.status}: ${await answer.text()}`);
}

const digestOf = (content: string | Buffer): string => `sha256:${createHash("sha256").update(content).digest("hex")}`;
