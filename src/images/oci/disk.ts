// The disk in an image of a registry, as a stream of bytes: a layer itself, or a file in the archive that a layer is.

import type { Body, ResumePoint } from "../byte-source.ts";
import { refusal, tooLarge } from "../refusal.ts";
import { blobBody } from "./blob.ts";
import { findDisk } from "./container-disk.ts";
import { Layer } from "./layer.ts";
import type { DiskPlan } from "./manifest.ts";
import type { RegistryClient } from "./registry-client.ts";

export interface DiskLimits {
  /** For messages. */
  readonly image: string;
  /** That a layer may have as it comes over the wire, */
  readonly maxImageBytes: number;
  /** and unpack to. */
  readonly maxVirtualSizeBytes: number;
  /** Told of each piece that comes of an archive; of a layer that is the disk itself whoever receives it knows. */
  readonly onArchiveBytes: (bytes: number) => void;
}

/**
 * What the plan says to be the disk, from where it is to be gone on with.
 * @throws IMAGE_REFUSED and the failures of a download, also from reading its bytes
 */
export async function openDisk(
  { image, maxImageBytes, maxVirtualSizeBytes, onArchiveBytes }: DiskLimits,
  plan: DiskPlan,
  clients: readonly RegistryClient[],
  resume: ResumePoint | undefined,
  signal: AbortSignal,
): Promise<Body> {
  const layers = plan.kind === "layer" ? [plan.layer] : plan.layers;
  if (layers.some(({ size }) => size > maxImageBytes)) throw refusal(image, tooLarge(maxImageBytes));
  if (plan.kind === "container-disk") {
    const options = { maxVirtualSizeBytes, onReceived: onArchiveBytes };
    const archives = layers.map((layer) => new Layer(image, layer, clients, options));
    return diskIn(image, archives, resume, signal);
  }
  const body = blobBody(plan.layer, resume?.fromBytes ?? 0, clients, signal);
  return plan.format === undefined ? body : { ...body, format: plan.format };
}

/** One can go on in the middle of an archive, but not in the middle of a packed one. */
async function diskIn(
  image: string,
  layers: readonly Layer[],
  resume: ResumePoint | undefined,
  signal: AbortSignal,
): Promise<Body> {
  const {
    layer: index,
    lengthBytes,
    offsetBytes,
    chunks,
  } = await findDisk(
    image,
    layers.map((layer) => () => layer.archive(signal)),
  );
  const layer = layers[index];
  const isResumable = layer?.isPlain === true;
  const facts = { validators: {}, isResumable, isCounted: true } as const;
  const body = { kind: "body", fromBytes: 0, chunks, lengthBytes, ...facts } as const;
  if (!isResumable || resume === undefined || resume.lengthBytes !== lengthBytes) return body;
  layer.has({ fromBytes: offsetBytes, lengthBytes: resume.fromBytes, path: resume.path });
  return { ...body, fromBytes: resume.fromBytes, chunks: behind(resume.fromBytes, chunks) };
}

async function* behind(bytes: number, chunks: AsyncIterable<Uint8Array>): AsyncGenerator<Uint8Array> {
  let passed = 0;
  for await (const chunk of chunks) {
    const from = Math.max(0, bytes - passed);
    passed += chunk.length;
    if (from < chunk.length) yield chunk.subarray(from);
  }
}
