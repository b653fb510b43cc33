// An image as a folder on disk (OCI image layout), as skopeo pushes it.

import { createHash } from "node:crypto";
import { mkdir, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { gunzipSync } from "node:zlib";

const INDEX = "application/vnd.oci.image.index.v1+json";
const MANIFEST = "application/vnd.oci.image.manifest.v1+json";
const CONFIG = "application/vnd.oci.image.config.v1+json";

export interface LayoutLayer {
  readonly mediaType: string;
  readonly bytes: Buffer;
}

/** @returns skopeo's name of it. */
export async function writeOciLayout(
  path: string,
  layers: readonly LayoutLayer[],
  configType = CONFIG,
): Promise<string> {
  await mkdir(join(path, "blobs/sha256"), { recursive: true });
  const add = async (mediaType: string, bytes: Buffer) => {
    const hex = createHash("sha256").update(bytes).digest("hex");
    await writeFile(join(path, "blobs/sha256", hex), bytes);
    return { mediaType, digest: `sha256:${hex}`, size: bytes.length };
  };
  const json = (content: object) => Buffer.from(JSON.stringify(content));
  const config = await add(
    configType,
    json({
      architecture: "amd64",
      os: "linux",
      rootfs: { type: "layers", diff_ids: layers.map(diffIdOf) },
      config: {},
    }),
  );
  const descriptors = [];
  for (const { mediaType, bytes } of layers) descriptors.push(await add(mediaType, bytes));
  const manifest = await add(MANIFEST, json({ schemaVersion: 2, mediaType: MANIFEST, config, layers: descriptors }));
  const named = { ...manifest, annotations: { "org.opencontainers.image.ref.name": "it" } };
  await writeFile(join(path, "index.json"), json({ schemaVersion: 2, mediaType: INDEX, manifests: [named] }));
  await writeFile(join(path, "oci-layout"), json({ imageLayoutVersion: "1.0.0" }));
  return `oci:${path}:it`;
}

const diffIdOf = ({ mediaType, bytes }: LayoutLayer): string => {
  const plain = mediaType.endsWith("+gzip") ? gunzipSync(bytes) : bytes;
  return `sha256:${createHash("sha256").update(plain).digest("hex")}`;
};
