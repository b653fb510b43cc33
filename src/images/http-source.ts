// Downloads over HTTP(S): one stream, with every limit that keeps a bad server from hurting the node.

import type { Dispatcher } from "undici";
import type { ImageDigest } from "../model/ids.ts";
import type { Body, ByteSource, Download, ResumePoint, Validators } from "./byte-source.ts";
import { dispatcherOf } from "./dispatcher.ts";
import { refused, refusedByStatus } from "./http-errors.ts";
import type { TransportProfile } from "./options.ts";
import { RedirectGuard } from "./private-address.ts";
import { type Answered, follow } from "./redirects.ts";
import { type Answer, chunksOf, hasIdentityEncoding, headerOf, send } from "./transport.ts";

export interface HttpFile {
  /** For messages. */
  readonly image: string;
  readonly url: URL;
  readonly profile: TransportProfile;
  /** Shows a cut download; without it the server must tell the length, or send chunks. */
  readonly pin?: ImageDigest;
  /** Of what is here of it already; the answer may then be `unchanged`. */
  readonly known?: () => Promise<Validators | undefined>;
}

/**
 * A file on a web server.
 * @throws IMAGE_NOT_FOUND IMAGE_SOURCE_REFUSED IMAGE_SOURCE_UNAVAILABLE CONFIG_INVALID (profile's files), also from
 *   reading `chunks`; the signal's reason.
 */
export function httpSource(file: HttpFile): ByteSource {
  const withDownload: ByteSource["withDownload"] = async (resume, use, signal) => {
    signal.throwIfAborted();
    const guard = file.profile.allowPrivateRedirects ? undefined : new RedirectGuard(file.url);
    const dispatcher = await dispatcherOf(file.profile, guard);
    try {
      return await use(await start({ file, dispatcher, guard, signal }, resume));
    } finally {
      // A body that was not read to its end must not keep its connection.
      await dispatcher.destroy();
    }
  };
  const isUnchanged = async (signal: AbortSignal): Promise<boolean> =>
    (await file.known?.()) !== undefined &&
    (await withDownload(undefined, async ({ kind }) => kind === "unchanged", signal));
  return { key: file.url.href, isUnchanged, withDownload };
}

/** A server that cannot go on where the last download stopped is asked for everything. */
async function start(wanted: Asking, rest: ResumePoint | undefined): Promise<Download> {
  const { file } = wanted;
  // A pull under a pin leaves what has no validators; without the pin nobody would notice that the file has changed.
  const resume = rest !== undefined && hasProof(file.pin, rest.validators) ? rest : undefined;
  if (resume !== undefined) {
    const { url, answer } = await askFrom(wanted, rangeHeaders(resume.fromBytes, undefined, resume.validators));
    if (answer.statusCode === 200) return bodyOf(answer, wanted, url);
    const part = answer.statusCode === 206 ? partOf(answer, resume) : undefined;
    if (part !== undefined) {
      return bodyFrom(resume.fromBytes, part.lengthBytes, { answer, url }, wanted, { hasRanges: true });
    }
    discard(answer);
    if (answer.statusCode !== 206 && answer.statusCode !== 416) {
      throw refusedByStatus(file.image, url, answer.statusCode);
    }
  }
  const known = resume === undefined ? await file.known?.() : undefined;
  const { url, answer } = await askFrom(wanted, knownHeaders(known));
  if (answer.statusCode === 304 && known !== undefined) return { kind: "unchanged" };
  if (answer.statusCode === 200) return bodyOf(answer, wanted, url);
  discard(answer);
  throw refusedByStatus(file.image, url, answer.statusCode);
}

/** That a part of a file is not put together with a part of another. */
const hasProof = (pin: ImageDigest | undefined, { etag, lastModified }: Validators): boolean =>
  pin !== undefined || etag !== undefined || lastModified !== undefined;

interface Asking {
  readonly file: HttpFile;
  readonly dispatcher: Dispatcher;
  readonly guard: RedirectGuard | undefined;
  readonly signal: AbortSignal;
}

type Headers = Readonly<Record<string, string>>;

const knownHeaders = (known: Validators | undefined): Headers => ({
  ...(known?.etag === undefined ? {} : { "if-none-match": known.etag }),
  ...(known?.lastModified === undefined ? {} : { "if-modified-since": known.lastModified }),
});

function rangeHeaders(fromBytes: number, toBytes: number | undefined, validators: Validators): Headers {
  const validator = validators.etag ?? validators.lastModified;
  return {
    range: `bytes=${fromBytes}-${toBytes === undefined ? "" : toBytes - 1}`,
    ...(validator === undefined ? {} : { "if-range": validator }),
  };
}

/** What a 206 holds, if it is what `wanted` asks for: from there on, of the same version. */
function partOf(
  answer: Answer,
  wanted: Omit<ResumePoint, "path">,
): { readonly toBytes: number; readonly lengthBytes: number } | undefined {
  const range = /^bytes ([0-9]{1,15})-([0-9]{1,15})\/([0-9]{1,15})$/.exec(headerOf(answer, "content-range"));
  if (range === null) return undefined;
  const [fromBytes, last, lengthBytes] = [Number(range[1]), Number(range[2]), Number(range[3])];
  const { etag, lastModified } = validatorsOf(answer);
  const isSame =
    (wanted.lengthBytes ?? lengthBytes) === lengthBytes &&
    (etag === undefined || wanted.validators.etag === undefined || etag === wanted.validators.etag) &&
    (lastModified === undefined || (wanted.validators.lastModified ?? lastModified) === lastModified);
  const isFitting = fromBytes === wanted.fromBytes && last >= fromBytes && last < lengthBytes;
  return isSame && isFitting && hasIdentityEncoding(answer) ? { toBytes: last + 1, lengthBytes } : undefined;
}

async function askFrom(wanted: Asking, headers: Headers): Promise<Answered> {
  const { file, guard } = wanted;
  const rules = { maxRedirects: file.profile.maxRedirects, guard };
  return follow(file.url, rules, async (url) => ask(wanted, url, headers));
}

async function ask({ file, dispatcher, signal }: Asking, url: URL, headers: Headers): Promise<Answer> {
  return send(url, { dispatcher, profile: file.profile, headers: { accept: "*/*", ...headers } }, signal);
}

const discard = (answer: Answer): void => void answer.body.destroy();

function bodyOf(answer: Answer, asking: Asking, url: URL): Body {
  if (!hasIdentityEncoding(answer)) {
    discard(answer);
    throw refused(url, 200, "sends the image compressed although it was told not to");
  }
  const length = headerOf(answer, "content-length");
  const lengthBytes = /^[0-9]{1,15}$/.test(length) ? Number(length) : undefined;
  const isChunked = headerOf(answer, "transfer-encoding") !== "";
  if (lengthBytes === undefined && !isChunked && asking.file.pin === undefined) {
    discard(answer);
    throw refused(url, 200, "tells no length, so a cut download could not be noticed; pin the image by its sha256");
  }
  const hasRanges = headerOf(answer, "accept-ranges").toLowerCase() === "bytes";
  return bodyFrom(0, lengthBytes, { answer, url }, asking, { hasRanges });
}

function bodyFrom(
  fromBytes: number,
  lengthBytes: number | undefined,
  { answer, url }: Answered,
  asking: Asking,
  { hasRanges }: { readonly hasRanges: boolean },
): Body {
  const { profile, pin } = asking.file;
  const validators = validatorsOf(answer);
  const isResumable = hasProof(pin, validators);
  const chunks = chunksOf(
    answer,
    { url, profile, lengthBytes: lengthBytes === undefined ? undefined : lengthBytes - fromBytes },
    asking.signal,
  );
  return {
    kind: "body",
    fromBytes,
    chunks,
    validators,
    isResumable,
    ...(pin === undefined ? {} : { pin }),
    ...(lengthBytes === undefined ? {} : { lengthBytes }),
    ...(lengthBytes === undefined || !hasRanges || !isResumable
      ? {}
      : { readRange: rangeReader(asking, url, { lengthBytes, validators }) }),
  };
}

/** Ranges of a file from where it was found; where that ends, because storage signs URLs for minutes, it is looked for again. */
function rangeReader(
  asking: Asking,
  foundAt: URL,
  version: { readonly lengthBytes: number; readonly validators: Validators },
): NonNullable<Body["readRange"]> {
  const { profile, image, url: named } = asking.file;
  let current = foundAt;
  return async function* (fromBytes, toBytes, signal) {
    const headers = rangeHeaders(fromBytes, toBytes, version.validators);
    const own = { ...asking, signal };
    let url = current;
    let part = await ask(own, url, headers);
    if (ENDED.has(part.statusCode) && url.href !== named.href) {
      discard(part);
      ({ url, answer: part } = await askFrom(own, headers));
      current = url;
    }
    if (part.statusCode !== 206 || partOf(part, { ...version, fromBytes })?.toBytes !== toBytes) {
      discard(part);
      if (part.statusCode !== 200 && part.statusCode !== 206) throw refusedByStatus(image, url, part.statusCode);
      throw refused(url, part.statusCode, "has another file by now, or does not serve parts of it; try again");
    }
    yield* chunksOf(part, { url, profile, lengthBytes: toBytes - fromBytes }, signal);
  };
}

/** What storage says to a URL that was good for a time. */
const ENDED: ReadonlySet<number> = new Set([400, 401, 403, 404, 410]);

/** Weak tags are left out: they promise less than the same bytes. So is a date too fresh to tell two versions apart. */
function validatorsOf(answer: Answer): Validators {
  const etag = headerOf(answer, "etag");
  const lastModified = headerOf(answer, "last-modified");
  const ageMs = Date.parse(headerOf(answer, "date")) - Date.parse(lastModified);
  return {
    ...(/^"[\x21\x23-\x7e]{1,200}"$/.test(etag) ? { etag } : {}),
    ...(lastModified.length < 64 && ageMs >= 2000 ? { lastModified } : {}),
  };
}
