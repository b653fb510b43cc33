// One download from its source to a checked file that has no place in the store yet.

import type { Run } from "../lib/spawn.ts";
import type { Turns } from "../lib/turns.ts";
import { VmletError } from "../model/failure.ts";
import type { ImageDigest } from "../model/ids.ts";
import type { Clock } from "../ports/clock.ts";
import type { Logger } from "../ports/logger.ts";
import type { Body, ByteSource, ResumePoint, Validators } from "./byte-source.ts";
import type { Reservation, SpaceLedger } from "./disk-space.ts";
import { asDiskFull } from "./disk-space.ts";
import { DiskWriter } from "./disk-writer.ts";
import type { StoreLayout } from "./layout.ts";
import type { ImageOptions } from "./options.ts";
import type { PartialFile, PartialFolder } from "./partial.ts";
import { plainBody } from "./plain-body.ts";
import type { PullMeter } from "./progress.ts";
import { checkWithQemuImg } from "./qemu-img-check.ts";
import { overConnections, RANGE_TIMING } from "./ranges.ts";
import { receive } from "./receive.ts";
import type { BlobFacts } from "./records.ts";
import { refusal, tooLarge } from "./refusal.ts";
import { type Room, withRoom } from "./room.ts";

export interface FetchParts {
  readonly options: ImageOptions;
  readonly layout: StoreLayout;
  readonly ledger: SpaceLedger;
  readonly partials: PartialFolder;
  /** Of those that download. */
  readonly turns: Turns;
  readonly run: Run;
  readonly clock: Clock;
  readonly log: Logger;
  readonly meter: PullMeter;
}

export type Fetched =
  /** The source says that what is known of it is still right. */
  | { readonly kind: "unchanged" }
  /** A whole, inspected, durable file, to be renamed into its place. */
  | {
      readonly kind: "received";
      readonly path: string;
      readonly blob: BlobFacts;
      readonly validators: Validators;
      /** Of what came over the wire, where that was packed. */
      readonly packedDigest?: ImageDigest;
    };

/** One image, and what is made of it. Nobody else downloads the same while these run. */
export interface Wanted<T> {
  /** For messages. */
  readonly image: string;
  readonly source: ByteSource;
  /** What makes a download needless, if it is there by now. */
  readonly present: () => Promise<T | undefined>;
  /** Takes the file away, or leaves it to be removed. */
  readonly keep: (fetched: Fetched) => Promise<T>;
}

/**
 * Downloads, going on where an earlier download was cut. Downloads of one key wait for each other.
 * @throws as ImageStore.pull. What can be gone on with stays; nothing else is left behind.
 */
export async function withImage<T>(parts: FetchParts, wanted: Wanted<T>, signal: AbortSignal): Promise<T> {
  const { image, source } = wanted;
  const attempt = async (): Promise<T> =>
    parts.partials.withFile(source.key, async (file) => fetchInto(file, parts, wanted, signal), signal);
  try {
    return await attempt();
  } catch (error) {
    if (!(error instanceof StaleRest)) throw error;
    parts.log.warn("the rest of a cut download did not fit its beginning: fetched again", { image });
    return attempt(); // from 0, so that it cannot happen again
  }
}

async function fetchInto<T>(
  file: PartialFile,
  parts: FetchParts,
  { image, source, present, keep }: Wanted<T>,
  signal: AbortSignal,
): Promise<T> {
  try {
    const result = (await present()) ?? (await keep(await inTurn(parts, image, source, file, signal)));
    await file.remove();
    return result;
  } catch (error) {
    await (isWorthKeeping(error) ? file.settle() : file.remove());
    throw error;
  }
}

/** Whoever has the bytes already is not kept waiting by the downloads of others. */
async function inTurn(
  parts: FetchParts,
  image: string,
  source: ByteSource,
  file: PartialFile,
  signal: AbortSignal,
): Promise<Fetched> {
  const { turns, meter } = parts;
  let turn = turns.tryTake();
  if (turn === undefined) {
    if ((await source.isUnchanged?.(signal)) === true) return { kind: "unchanged" };
    meter.waiting();
    turn = await turns.take(signal);
    meter.asking();
  }
  using _turn = turn;
  return await download(parts, image, source, file, signal);
}

/** The beginning was here from an earlier download, and the whole is not what is wanted. */
class StaleRest extends Error {}

async function download(
  parts: FetchParts,
  image: string,
  source: ByteSource,
  file: PartialFile,
  signal: AbortSignal,
): Promise<Fetched> {
  await using open = new Writers(file.path);
  const resume = await resumePoint(parts, image, file, open);
  return await source.withDownload(
    resume,
    async (answer) => {
      if (answer.kind === "unchanged") return answer;
      if (resume !== undefined && answer.fromBytes === 0) {
        await file.forget();
        await open.writer().restart();
      }
      try {
        return await take(parts, image, answer, file, open, signal);
      } catch (error) {
        const isRefused = error instanceof VmletError && error.failure.code === "IMAGE_DIGEST_MISMATCH";
        throw isRefused && answer.fromBytes > 0 ? new StaleRest(error.message, { cause: error }) : error;
      }
    },
    signal,
  );
}

async function resumePoint(
  { log }: FetchParts,
  image: string,
  { record, path }: PartialFile,
  open: Writers,
): Promise<ResumePoint | undefined> {
  if (record === undefined) return undefined;
  const fromBytes = await open.writer().resume(record.checkpoints);
  const savedBytes = record.checkpoints.at(-1)?.bytes ?? 0;
  if (fromBytes < savedBytes)
    log.warn("a cut download is damaged on disk", { image, savedBytes, goodBytes: fromBytes });
  if (fromBytes === 0) return undefined;
  log.info("image download goes on", { image, fromBytes, totalBytes: record.lengthBytes });
  const { etag, lastModified } = record.validators;
  return {
    fromBytes,
    path,
    validators: {
      ...(etag === undefined ? {} : { etag }),
      ...(lastModified === undefined ? {} : { lastModified }),
    },
    ...(record.lengthBytes === undefined ? {} : { lengthBytes: record.lengthBytes }),
  };
}

async function take(
  parts: FetchParts,
  image: string,
  body: Body,
  file: PartialFile,
  open: Writers,
  signal: AbortSignal,
): Promise<Fetched> {
  const { options, layout, meter } = parts;
  const { lengthBytes, fromBytes, validators } = body;
  if (lengthBytes === 0) throw refusal(image, "is empty");
  if (lengthBytes !== undefined && lengthBytes > options.maxImageBytes) {
    throw refusal(image, tooLarge(options.maxImageBytes));
  }
  const atFirstBytes = Math.max(0, (lengthBytes ?? 0) - fromBytes);
  using reservation = await makingWay(parts, async () => parts.ledger.reserve(atFirstBytes));
  meter.receiving(fromBytes, lengthBytes, { isCounted: body.isCounted === true });
  let seenBytes = fromBytes;
  const onReceived = (receivedBytes: number): void => meter.received(receivedBytes);
  const overWire: Body = { ...body, chunks: overConnections(body, RANGE_TIMING, signal) };
  try {
    const plain = await plainBody(overWire, { ...options, image, onReceived }, signal);
    const isPacked = plain.packedDigest !== undefined;
    const maxImageBytes = isPacked ? options.maxVirtualSizeBytes : options.maxImageBytes;
    const chunks =
      isPacked || lengthBytes === undefined
        ? withRoom(plain.body, { toldBytes: plain.toldBytes, maxBytes: maxImageBytes }, roomOf(reservation, parts))
        : plain.body.chunks;
    const blob = await receive({ ...plain.body, chunks }, file, () => open.writer(), {
      image,
      maxImageBytes,
      maxVirtualSizeBytes: options.maxVirtualSizeBytes,
      requireBootSignature: options.requireBootSignature,
      allowSnapshots: options.allowSnapshots,
      onReceived: (receivedBytes) => {
        reservation.wrote(receivedBytes - seenBytes);
        seenBytes = receivedBytes;
        if (!isPacked) meter.received(receivedBytes);
      },
    });
    meter.done(lengthBytes ?? blob.lengthBytes);
    await checkWithQemuImg({ image, path: file.path, blob }, parts.run, signal);
    const packed = plain.packedDigest === undefined ? {} : { packedDigest: plain.packedDigest() };
    return { kind: "received", path: file.path, blob, validators, ...packed };
  } catch (error) {
    signal.throwIfAborted();
    throw await asDiskFull(error, layout.partialPath, lengthBytes ?? seenBytes);
  }
}

/** Downloads that nobody goes on with make way for one that somebody wants now. */
async function makingWay<T>({ partials, log }: FetchParts, reserve: () => Promise<T>): Promise<T> {
  try {
    return await reserve();
  } catch (error) {
    const files = await partials.collect({ olderThanMs: Number.POSITIVE_INFINITY });
    if (files === 0) throw error;
    log.info("unfinished downloads removed to make room", { files });
    return reserve();
  }
}

const roomOf = (reservation: Reservation, parts: FetchParts): Room => ({
  get leftBytes() {
    return reservation.leftBytes;
  },
  raise: async (bytes) => makingWay(parts, async () => reservation.raise(bytes)),
});

/** A source that failed may be whole the next time, a program installed, and whoever left may come back. */
function isWorthKeeping(error: unknown): boolean {
  if (error instanceof StaleRest) return false;
  if (!(error instanceof VmletError)) return true;
  return ["IMAGE_SOURCE_UNAVAILABLE", "IMAGE_SOURCE_REFUSED", "TOOL_FAILED"].includes(error.failure.code);
}

/** The writer of one download, made when it is needed: a refusal at the door costs no thread. */
class Writers implements AsyncDisposable {
  readonly #path: string;
  #writer: DiskWriter | undefined;

  constructor(path: string) {
    this.#path = path;
  }

  writer(): DiskWriter {
    this.#writer ??= new DiskWriter(this.#path);
    return this.#writer;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#writer?.[Symbol.asyncDispose]();
  }
}
