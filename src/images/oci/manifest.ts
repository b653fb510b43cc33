// Manifests and indexes: read as what they are, unknown to be honest, and turned into the plan of what to download.

import { z } from "zod";
import { type ImageDigest, isImageDigest } from "../../model/ids.ts";
import type { DiskFormat } from "../../model/image.ts";
import { refusedContent, shown } from "./errors.ts";

const INDEX_TYPES: readonly string[] = [
  "application/vnd.oci.image.index.v1+json",
  "application/vnd.docker.distribution.manifest.list.v2+json",
];
const MANIFEST_TYPES: readonly string[] = [
  "application/vnd.oci.image.manifest.v1+json",
  "application/vnd.docker.distribution.manifest.v2+json",
];
export const ACCEPTED_MANIFESTS = [...INDEX_TYPES, ...MANIFEST_TYPES].join(", ");
/** Registries allow 4 MiB; as many layers and platforms as are taken need a tenth of this, and reading it holds up everybody. */
export const MAX_MANIFEST_BYTES = 1024 * 1024;
const MAX_LAYERS = 256;
const MAX_PLATFORMS = 1000;

const digest = z.custom<ImageDigest>(
  (value) => typeof value === "string" && isImageDigest(value),
  "not a sha256 digest",
);
export const descriptor = z.object({
  mediaType: z.string().max(255).default(""),
  digest,
  size: z.int().min(0),
});
const platform = z.object({
  os: z.string().max(100),
  architecture: z.string().max(100),
  variant: z.string().max(100).optional(),
});
const indexSchema = z.object({
  manifests: z.array(descriptor.extend({ platform: platform.optional() })).max(MAX_PLATFORMS),
});
const manifestSchema = z.object({
  artifactType: z.string().max(255).optional(),
  config: descriptor,
  layers: z.array(descriptor).max(MAX_LAYERS),
});

/** Configurations of container images; those of artifacts are of any other type. */
export const IMAGE_CONFIGS: readonly string[] = [
  "application/vnd.oci.image.config.v1+json",
  "application/vnd.docker.container.image.v1+json",
];

export type Descriptor = z.output<typeof descriptor>;
export type Manifest = z.output<typeof manifestSchema>;
export type Index = z.output<typeof indexSchema>;

export type Document =
  | { readonly kind: "index"; readonly index: Index }
  | { readonly kind: "manifest"; readonly manifest: Manifest };

/** What is to be made of the layers. */
export type DiskPlan =
  /** One file under `disk/` in the file system that the layers make, lowest layer first. */
  | { readonly kind: "container-disk"; readonly layers: readonly Descriptor[] }
  /** The layer is the disk, packed or not. */
  | { readonly kind: "layer"; readonly layer: Descriptor; readonly format?: DiskFormat };

/**
 * Reads a document whose bytes hash to what was asked for.
 * @param contentType As the server named it: must agree with what the document says of itself (CVE-2021-41190).
 * @throws IMAGE_REFUSED
 */
export function readDocument(image: string, bytes: Uint8Array, contentType: string | undefined): Document {
  const content = parseJson(image, bytes);
  const served = contentType?.split(";")[0]?.trim() ?? "";
  const own = typeof content["mediaType"] === "string" ? content["mediaType"] : undefined;
  const type = own ?? served;
  const isKnown = (text: string): boolean => INDEX_TYPES.includes(text) || MANIFEST_TYPES.includes(text);
  if (own !== undefined && isKnown(served) && own !== served) {
    throw refusedContent(image, `its manifest is served as ${served} and calls itself ${shown(own)}`);
  }
  if ("manifests" in content && ("layers" in content || "config" in content)) {
    throw refusedContent(image, "its manifest is an index and a manifest at once");
  }
  if (content["schemaVersion"] === 1) {
    throw refusedContent(image, "it has a docker manifest of schema 1, which is gone everywhere; push it again");
  }
  // zod looks at each of a million before it says that they are too many.
  for (const [name, most] of [
    ["layers", MAX_LAYERS],
    ["manifests", MAX_PLATFORMS],
  ] as const) {
    const list = content[name];
    if (Array.isArray(list) && list.length > most) {
      throw refusedContent(image, `its manifest has ${list.length} ${name}; ${most} are taken`);
    }
  }
  if (INDEX_TYPES.includes(type)) return { kind: "index", index: parsed(image, indexSchema, content) };
  if (MANIFEST_TYPES.includes(type)) return { kind: "manifest", manifest: parsed(image, manifestSchema, content) };
  throw refusedContent(
    image,
    `its manifest is of type "${shown(type)}"; OCI and docker manifests (version 2) are taken`,
  );
}

/**
 * The manifest for this machine.
 * @param arch As in OCI: `amd64`, `arm64`.
 * @throws IMAGE_REFUSED telling which platforms there are
 */
export function choosePlatform(image: string, { manifests }: Index, arch: string): Descriptor {
  const fitting = manifests.filter(({ platform: p }) => p?.os === "linux" && p.architecture === arch);
  // No variant is the least that all processors have; then v2 before v3, which fewer have.
  const variantOf = ({ platform: p }: Index["manifests"][number]): string => p?.variant ?? "";
  const [chosen] = fitting.toSorted((one, other) => variantOf(one).localeCompare(variantOf(other), "en"));
  const [only, ...others] = manifests.filter(({ platform: p }) => p?.os !== "unknown"); // attestations
  const found = chosen ?? (others.length === 0 && only?.platform === undefined ? only : undefined);
  if (found !== undefined) return found;
  const there = manifests.map(({ platform: p }) => (p === undefined ? "none told" : `${p.os}/${p.architecture}`));
  throw refusedContent(image, `it is for ${listed(there)}; this node is linux/${arch}`);
}

const TAR_LAYER =
  /^application\/vnd\.(?:oci\.image\.layer\.v1\.tar|docker\.image\.rootfs\.diff\.tar)(?:[+.](?:gzip|zstd))?$/;
const ORAS_FILE = "application/vnd.oci.image.layer.v1.tar";
const FOREIGN_LAYER = /(?:nondistributable|foreign)/;
const KUBEVIRT_DISK = "application/vnd.kubevirt.disk.raw+zstd";
const LF_EDGE_DISK = /^application\/vnd\.lfedge\.disk\.layer\.v1\+([a-z0-9]+)$/;
const LF_EDGE_FORMATS: Readonly<Record<string, DiskFormat>> = { raw: "raw", qcow2: "qcow2" };

/** @throws IMAGE_REFUSED telling what was found */
export function planOf(image: string, { layers, artifactType, config }: Manifest): DiskPlan {
  const types = layers.map(({ mediaType }) => mediaType);
  const kubevirt = layers.filter(({ mediaType }) => mediaType === KUBEVIRT_DISK);
  const lfEdge = layers.filter(({ mediaType }) => LF_EDGE_DISK.test(mediaType));
  const disks = [...kubevirt, ...lfEdge];
  const [disk] = disks;
  if (disks.length > 1) {
    throw refusedContent(
      image,
      `it has ${disks.length} disks (${listed(disks.map((d) => d.mediaType))}); a VM takes one`,
    );
  }
  if (disk !== undefined) return { kind: "layer", layer: disk, format: formatOf(image, disk.mediaType) };
  const [layer] = layers;
  // `oras push` says this of every file that is given no type.
  if (layers.length === 1 && layer?.mediaType === ORAS_FILE && !IMAGE_CONFIGS.includes(config.mediaType)) {
    return { kind: "layer", layer };
  }
  if (layers.length > 0 && layers.every(({ mediaType }) => TAR_LAYER.test(mediaType))) {
    return { kind: "container-disk", layers };
  }
  if (layers.length === 1 && layer !== undefined && !isFileSystem(layer.mediaType)) return { kind: "layer", layer };
  const kind = shown(artifactType ?? config.mediaType);
  throw refusedContent(
    image,
    `its layers are no disk: ${layers.length === 0 ? "there are none" : listed(types)} (${kind}); taken are images with ` +
      "one file under disk/, KubeVirt raw+zstd, LF Edge raw and qcow2, and artifacts with one layer that is a disk",
  );
}

/** A single layer of a kind that cannot be a disk: a file system without `disk/`, or bytes that are elsewhere. */
const isFileSystem = (mediaType: string): boolean => FOREIGN_LAYER.test(mediaType) || /[.+]tar\b/.test(mediaType);

function formatOf(image: string, mediaType: string): DiskFormat {
  if (mediaType === KUBEVIRT_DISK) return "raw";
  const told = LF_EDGE_DISK.exec(mediaType)?.[1] ?? "";
  const format = Object.hasOwn(LF_EDGE_FORMATS, told) ? LF_EDGE_FORMATS[told] : undefined;
  if (format !== undefined) return format;
  throw refusedContent(image, `its disk is ${shown(mediaType)}; of LF Edge's disks raw and qcow2 are taken`);
}

function parseJson(image: string, bytes: Uint8Array): Readonly<Record<string, unknown>> {
  try {
    const content: unknown = JSON.parse(new TextDecoder("utf-8", { fatal: true }).decode(bytes));
    if (isObject(content)) return content;
  } catch {
    // the same to whoever reads it
  }
  throw refusedContent(image, "its manifest is no JSON object");
}

const isObject = (content: unknown): content is Readonly<Record<string, unknown>> =>
  typeof content === "object" && content !== null && !Array.isArray(content);

function parsed<T>(image: string, schema: z.ZodType<T>, content: unknown): T {
  const result = schema.safeParse(content);
  if (result.success) return result.data;
  const issue = result.error.issues[0];
  throw refusedContent(image, `its manifest is malformed: ${issue?.path.join(".") ?? ""}: ${issue?.message ?? "?"}`);
}

/** Different ones, each once, not too many. */
function listed(texts: readonly string[]): string {
  const distinct = [...new Set(texts)].map(shown);
  return distinct.length <= 8
    ? distinct.join(", ")
    : `${distinct.slice(0, 8).join(", ")} and ${distinct.length - 8} more`;
}
