// One pass over a download: to disk, through the hash, past the inspector. What does not end well leaves no file.

import { createHash, randomBytes } from "node:crypto";
import { type FileHandle, open, rm } from "node:fs/promises";
import { join } from "node:path";
import { VmletError } from "../model/failure.ts";
import type { ImageDigest } from "../model/ids.ts";
import { asDiskFull, type Reservation } from "./disk-space.ts";
import { HEAD_BYTES, type InspectionLimits, inspect, refuseByHead, TAIL_BYTES } from "./inspector.ts";
import type { BlobFacts } from "./records.ts";

export interface ReceiveOptions extends InspectionLimits {
  /** For messages. */
  readonly image: string;
  readonly folderPath: string;
  readonly maxImageBytes: number;
  readonly lengthBytes?: number;
  readonly pin?: ImageDigest;
  readonly onReceived: (receivedBytes: number) => void;
}

/** A whole, inspected file without a place in the store yet; gone at the end of its scope unless renamed before. */
export interface ReceivedFile extends AsyncDisposable {
  readonly path: string;
  readonly blob: BlobFacts;
}

/**
 * Writes `chunks` to a new file (mode 0444, on disk when this resolves).
 * @throws IMAGE_REFUSED IMAGE_DIGEST_MISMATCH DISK_FULL, and what `chunks` throws.
 */
export async function receive(
  chunks: AsyncIterable<Uint8Array>,
  reservation: Reservation,
  options: ReceiveOptions,
): Promise<ReceivedFile> {
  const path = join(options.folderPath, `${randomBytes(8).toString("hex")}.part`);
  await using undo = new AsyncDisposableStack();
  undo.defer(async () => rm(path, { force: true }));
  const blob = await writeThrough(chunks, path, reservation, options);
  if (options.pin !== undefined && options.pin !== blob.digest) {
    const { image, pin } = options;
    throw new VmletError(
      { code: "IMAGE_DIGEST_MISMATCH", image, wanted: pin, found: blob.digest },
      `image ${image}: the bytes hash to ${blob.digest}, not to ${pin}; the source has changed or lies`,
    );
  }
  const kept = undo.move();
  return { path, blob, [Symbol.asyncDispose]: async () => kept.disposeAsync() };
}

async function writeThrough(
  chunks: AsyncIterable<Uint8Array>,
  path: string,
  reservation: Reservation,
  options: ReceiveOptions,
): Promise<BlobFacts> {
  let received = 0;
  try {
    await using file = await open(path, "wx+", 0o600);
    const hash = createHash("sha256");
    const head = new Head();
    for await (const chunk of chunks) {
      received += chunk.length;
      if (received > options.maxImageBytes) throw refusal(options.image, tooLarge(options.maxImageBytes));
      if (head.take(chunk)) refuseEarly(head.bytes(), options);
      const writing = file.writeFile(chunk);
      hash.update(chunk); // while the kernel copies
      await writing;
      reservation.wrote(chunk.length);
      options.onReceived(received);
    }
    const verdict = inspect({ head: head.bytes(), tail: await tailOf(file, received), lengthBytes: received }, options);
    if (!verdict.isAccepted) throw refusal(options.image, verdict.finding);
    await file.chmod(0o444);
    await file.sync();
    const digest = `sha256:${hash.digest("hex")}` as ImageDigest;
    return { digest, format: verdict.format, lengthBytes: received, virtualSizeBytes: verdict.virtualSizeBytes };
  } catch (error) {
    throw await asDiskFull(error, options.folderPath, options.lengthBytes ?? received);
  }
}

/** The first bytes of a stream that comes in pieces. */
class Head {
  readonly #bytes = Buffer.alloc(HEAD_BYTES);
  #length = 0;

  /** True for the piece that fills the head. */
  take(chunk: Uint8Array): boolean {
    if (this.#length === HEAD_BYTES) return false;
    const part = chunk.subarray(0, HEAD_BYTES - this.#length);
    this.#bytes.set(part, this.#length);
    this.#length += part.length;
    return this.#length === HEAD_BYTES;
  }

  bytes(): Uint8Array {
    return this.#bytes.subarray(0, this.#length);
  }
}

function refuseEarly(head: Uint8Array, options: ReceiveOptions): void {
  const finding = refuseByHead(head, options);
  if (finding !== undefined) throw refusal(options.image, finding);
}

async function tailOf(file: FileHandle, lengthBytes: number): Promise<Uint8Array> {
  const length = Math.min(TAIL_BYTES, lengthBytes);
  const { buffer, bytesRead } = await file.read(Buffer.alloc(length), 0, length, lengthBytes - length);
  return buffer.subarray(0, bytesRead);
}

export const tooLarge = (maxImageBytes: number): string => `is larger than ${maxImageBytes} bytes (maxImageBytes)`;

/** @param finding Completes "the file …". */
export function refusal(image: string, finding: string): VmletError {
  return new VmletError({ code: "IMAGE_REFUSED", image, finding }, `image ${image}: the file ${finding}`);
}
