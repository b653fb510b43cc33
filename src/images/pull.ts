// One download from its source to a checked file that has no place in the store yet.

import type { Run } from "../lib/spawn.ts";
import type { Clock } from "../ports/clock.ts";
import type { Logger } from "../ports/logger.ts";
import type { SpaceLedger } from "./disk-space.ts";
import { type Download, type DownloadRequest, type Validators, withDownload } from "./http-source.ts";
import type { StoreLayout } from "./layout.ts";
import { type ImageOptions, PROFILE_DEFAULTS } from "./options.ts";
import { type ReceivedFile, receive, refusal, tooLarge } from "./partial.ts";
import { type PullProgress, progressMeter } from "./progress.ts";
import { checkWithQemuImg } from "./qemu-img-check.ts";
import type { NameRecord } from "./records.ts";
import type { ImageSource } from "./translation.ts";

export interface FetchParts {
  readonly options: ImageOptions;
  readonly layout: StoreLayout;
  readonly ledger: SpaceLedger;
  readonly run: Run;
  readonly clock: Clock;
  readonly log: Logger;
  readonly onProgress?: (progress: PullProgress) => void;
}

export type Fetched =
  /** The server says that what `known` tells of is still right. */
  | { readonly kind: "unchanged" }
  | { readonly kind: "received"; readonly file: ReceivedFile; readonly validators: Validators };

/** @throws as ImageStore.pull; nothing is left behind then. */
export async function fetchImage(
  parts: FetchParts,
  image: string,
  source: ImageSource,
  known: NameRecord | undefined,
  signal: AbortSignal,
): Promise<Fetched> {
  const validators = known?.source?.url === source.url.href ? validatorsOf(known.source) : undefined;
  const wanted: DownloadRequest = {
    image,
    url: source.url,
    profile: parts.options.profiles[source.profile] ?? PROFILE_DEFAULTS,
    isPinned: source.pin !== undefined,
    ...(validators === undefined ? {} : { known: validators }),
  };
  return withDownload(wanted, async (download) => take(parts, image, source, download, signal), signal);
}

async function take(
  parts: FetchParts,
  image: string,
  source: ImageSource,
  download: Download,
  signal: AbortSignal,
): Promise<Fetched> {
  if (download.kind === "unchanged") return { kind: "unchanged" };
  const { options, layout, ledger } = parts;
  const { lengthBytes, validators } = download;
  if (lengthBytes === 0) throw refusal(image, "is empty");
  if (lengthBytes !== undefined && lengthBytes > options.maxImageBytes) {
    throw refusal(image, tooLarge(options.maxImageBytes));
  }
  using reservation = await ledger.reserve(lengthBytes ?? 0);
  const meter = progressMeter(
    { image, ...(lengthBytes === undefined ? {} : { totalBytes: lengthBytes }) },
    parts.clock,
    (progress) => tell(parts, progress),
  );
  await using undo = new AsyncDisposableStack();
  const file = undo.use(
    await receive(download.chunks, reservation, {
      image,
      folderPath: layout.partialPath,
      maxImageBytes: options.maxImageBytes,
      maxVirtualSizeBytes: options.maxVirtualSizeBytes,
      requireBootSignature: options.requireBootSignature,
      onReceived: meter.received,
      ...(lengthBytes === undefined ? {} : { lengthBytes }),
      ...(source.pin === undefined ? {} : { pin: source.pin }),
    }),
  );
  meter.done(file.blob.lengthBytes);
  await checkWithQemuImg(image, file.path, file.blob, parts.run, signal);
  undo.move();
  return { kind: "received", file, validators };
}

function tell({ log, onProgress }: FetchParts, progress: PullProgress): void {
  log.debug("image download", { ...progress });
  onProgress?.(progress);
}

/** Without any there is nothing to ask by. */
function validatorsOf(source: {
  etag?: string | undefined;
  lastModified?: string | undefined;
}): Validators | undefined {
  if (source.etag !== undefined) return { etag: source.etag };
  return source.lastModified === undefined ? undefined : { lastModified: source.lastModified };
}
