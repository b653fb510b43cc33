// One pass over a download: through the hash to disk, past the inspector. What is cut can be gone on with.

import { type FileHandle, open } from "node:fs/promises";
import type { ImageDigest } from "../model/ids.ts";
import type { DiskFormat } from "../model/image.ts";
import type { Body } from "./byte-source.ts";
import type { Checkpoint } from "./disk-task.ts";
import type { DiskWriter } from "./disk-writer.ts";
import { QCOW_MAGIC, startsWith } from "./foreign-formats.ts";
import { HEAD_BYTES, type InspectionLimits, inspect, refuseByHead, TAIL_BYTES } from "./inspector.ts";
import { type PartialFile, withCheckpoint } from "./partial.ts";
import { peek } from "./peek.ts";
import type { BlobFacts } from "./records.ts";
import { mismatch, refusal, tooLarge } from "./refusal.ts";

/**
 * Bytes between two checkpoints. Two of them, plus what ranges hold in memory, are what a killed daemon has to fetch
 * again: 32 MiB at most.
 */
const CHECKPOINT_BYTES = 4 * 1024 * 1024;

export interface ReceiveOptions extends InspectionLimits {
  /** For messages. */
  readonly image: string;
  readonly maxImageBytes: number;
  readonly onReceived: (receivedBytes: number) => void;
}

/**
 * Writes what `body` brings behind the `body.fromBytes` that `file` has. When this resolves the file is whole,
 * inspected, durable and read-only. When it fails the record tells what can be gone on with, if anything.
 * @param openWriter Called when the first bytes look as if they could be a disk.
 * @throws IMAGE_REFUSED IMAGE_DIGEST_MISMATCH, what a file system throws, and what `body` throws.
 */
export async function receive(
  body: Body,
  file: PartialFile,
  openWriter: () => DiskWriter,
  options: ReceiveOptions,
): Promise<BlobFacts> {
  const { pin, format } = body;
  const chunks = body.fromBytes === 0 ? await pastTheHead(body, options) : body.chunks;
  const whole = await writeThrough(chunks, body, file, openWriter(), options);
  const digest = `sha256:${whole.sha256}` as ImageDigest;
  if (pin !== undefined && pin !== digest) throw mismatch(options.image, pin, digest);
  await using written = await open(file.path, "r");
  const lengthBytes = whole.bytes;
  const head = await read(written, 0, Math.min(HEAD_BYTES, lengthBytes));
  const tail = await read(written, Math.max(0, lengthBytes - TAIL_BYTES), Math.min(TAIL_BYTES, lengthBytes));
  const verdict = inspect({ head, tail, lengthBytes }, options);
  if (!verdict.isAccepted) throw refusal(options.image, verdict.finding);
  if (format !== undefined && format !== verdict.format) throw refusal(options.image, otherThan(format));
  return { digest, format: verdict.format, lengthBytes, virtualSizeBytes: verdict.virtualSizeBytes };
}

async function pastTheHead({ chunks, format }: Body, options: ReceiveOptions): Promise<AsyncIterable<Uint8Array>> {
  const peeked = await peek(chunks, HEAD_BYTES);
  const finding = peeked.head.length < HEAD_BYTES ? undefined : refuseByHead(peeked.head, options);
  if (finding !== undefined) throw refusal(options.image, finding);
  const isQcow2 = startsWith(peeked.head, QCOW_MAGIC, 0);
  if (format !== undefined && isQcow2 !== (format === "qcow2")) throw refusal(options.image, otherThan(format));
  return peeked.chunks;
}

/** Whoever trusts what is told may be hurt by what is there. */
const otherThan = (told: DiskFormat): string =>
  `is ${told === "raw" ? "qcow2" : "not qcow2"} where its source tells of a ${told} disk`;

async function writeThrough(
  chunks: AsyncIterable<Uint8Array>,
  body: Body,
  file: PartialFile,
  writer: DiskWriter,
  options: ReceiveOptions,
): Promise<Checkpoint> {
  const checkpoints = new Checkpoints(body, file, writer);
  let received = body.fromBytes;
  try {
    for await (const chunk of chunks) {
      received += chunk.length;
      if (received > options.maxImageBytes) throw refusal(options.image, tooLarge(options.maxImageBytes));
      await writer.write(chunk);
      await checkpoints.passed(received);
      options.onReceived(received);
    }
  } catch (error) {
    await checkpoints.last();
    throw error;
  }
  return writer.finish();
}

/** Remembers on disk, every few MiB, how far the download is. */
class Checkpoints {
  readonly #body: Body;
  readonly #file: PartialFile;
  readonly #writer: DiskWriter;
  #known: readonly Checkpoint[];
  #takenAtBytes: number;
  #taking: Promise<void> = Promise.resolve();

  constructor(body: Body, file: PartialFile, writer: DiskWriter) {
    this.#body = body;
    this.#file = file;
    this.#writer = writer;
    this.#known = file.record?.checkpoints.filter(({ bytes }) => bytes <= body.fromBytes) ?? [];
    this.#takenAtBytes = body.fromBytes;
  }

  /** Waits for the one before, so that the last saved one is never far behind. */
  async passed(receivedBytes: number): Promise<void> {
    if (!this.#body.isResumable || receivedBytes - this.#takenAtBytes < CHECKPOINT_BYTES) return;
    this.#takenAtBytes = receivedBytes;
    await this.#taking;
    this.#taking = this.#take();
    this.#taking.catch(() => {}); // told by the next wait
  }

  /** The download has failed for another reason, which is the one to tell. */
  async last(): Promise<void> {
    if (!this.#body.isResumable) return;
    try {
      await this.#taking;
      await this.#take();
    } catch {
      // what was saved before still holds
    }
  }

  async #take(): Promise<void> {
    const mark = await this.#writer.mark();
    const { lengthBytes, validators } = this.#body;
    // Nothing can be asked for behind the end.
    if (mark.bytes === 0 || (lengthBytes !== undefined && mark.bytes >= lengthBytes)) return;
    this.#known = withCheckpoint(this.#known, mark);
    await this.#file.save({
      validators,
      checkpoints: [...this.#known],
      ...(lengthBytes === undefined ? {} : { lengthBytes }),
    });
  }
}

async function read(file: FileHandle, from: number, length: number): Promise<Uint8Array> {
  const { buffer, bytesRead } = await file.read(Buffer.alloc(length), 0, length, from);
  return buffer.subarray(0, bytesRead);
}
