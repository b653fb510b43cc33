// Downloads over HTTP(S): one stream, with every limit that keeps a bad server from hurting the node.

import { type Dispatcher, request } from "undici";
import type { ImageDigest } from "../model/ids.ts";
import {
  type Body,
  type ByteSource,
  type Download,
  isResumable,
  type ResumePoint,
  type Validators,
} from "./byte-source.ts";
import { dispatcherOf } from "./dispatcher.ts";
import { DripWatch } from "./drip-watch.ts";
import { refused, refusedByStatus, unavailable, unavailableBy } from "./http-errors.ts";
import type { TransportProfile } from "./options.ts";
import { RedirectGuard } from "./private-address.ts";

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

const REDIRECTS: ReadonlySet<number> = new Set([301, 302, 303, 307, 308]);

/**
 * A file on a web server.
 * @throws IMAGE_NOT_FOUND IMAGE_SOURCE_REFUSED IMAGE_SOURCE_UNAVAILABLE CONFIG_INVALID (profile's files), also from
 *   reading `chunks`; the signal's reason.
 */
export function httpSource(file: HttpFile): ByteSource {
  return {
    key: file.url.href,
    ...(file.pin === undefined ? {} : { pin: file.pin }),
    withDownload: async (resume, use, signal) => {
      signal.throwIfAborted();
      const guard = file.profile.allowPrivateRedirects ? undefined : new RedirectGuard(file.url);
      const dispatcher = await dispatcherOf(file.profile, guard);
      try {
        return await use(await start({ file, dispatcher, guard, signal }, resume));
      } finally {
        // A body that was not read to its end must not keep its connection.
        await dispatcher.destroy();
      }
    },
  };
}

/** A server that cannot go on where the last download stopped is asked for everything. */
async function start(wanted: Asking, resume: ResumePoint | undefined): Promise<Download> {
  const { file } = wanted;
  if (resume !== undefined) {
    const { url, answer } = await follow(wanted, rangeHeaders(resume.fromBytes, undefined, resume.validators));
    if (answer.statusCode === 200) return bodyOf(answer, wanted, url);
    const part = answer.statusCode === 206 ? partOf(answer, resume) : undefined;
    if (part !== undefined) return restOf(answer, wanted, url, resume.fromBytes, part.lengthBytes);
    discard(answer);
    if (answer.statusCode !== 206 && answer.statusCode !== 416) {
      throw refusedByStatus(file.image, url, answer.statusCode);
    }
  }
  const known = resume === undefined ? await file.known?.() : undefined;
  const { url, answer } = await follow(wanted, knownHeaders(known));
  if (answer.statusCode === 304 && known !== undefined) return { kind: "unchanged" };
  if (answer.statusCode === 200) return bodyOf(answer, wanted, url);
  discard(answer);
  throw refusedByStatus(file.image, url, answer.statusCode);
}

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
  answer: Dispatcher.ResponseData,
  wanted: ResumePoint,
): { readonly toBytes: number; readonly lengthBytes: number } | undefined {
  const range = /^bytes ([0-9]{1,15})-([0-9]{1,15})\/([0-9]{1,15})$/.exec(headerOf(answer, "content-range") ?? "");
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

async function follow(
  wanted: Asking,
  headers: Headers,
): Promise<{ readonly url: URL; readonly answer: Dispatcher.ResponseData }> {
  const { file } = wanted;
  let { url } = file;
  for (let redirects = 0; ; redirects++) {
    const answer = await ask(wanted, url, headers);
    if (!REDIRECTS.has(answer.statusCode)) return { url, answer };
    discard(answer);
    if (redirects >= file.profile.maxRedirects) {
      throw refused(
        file.url,
        answer.statusCode,
        `redirects more than ${file.profile.maxRedirects} times (maxRedirects)`,
      );
    }
    url = redirectOf(answer, url);
    wanted.guard?.check(url);
  }
}

async function ask({ file, dispatcher, signal }: Asking, url: URL, headers: Headers): Promise<Dispatcher.ResponseData> {
  try {
    const answer = await request(url, {
      dispatcher,
      signal,
      headersTimeout: file.profile.headersTimeoutMs,
      bodyTimeout: file.profile.idleTimeoutMs,
      headers: {
        "user-agent": "vmlet",
        accept: "*/*",
        // The digest is that of the file itself.
        "accept-encoding": "identity",
        ...headers,
      },
    });
    answer.body.on("error", () => {}); // whoever reads it gets the error; nobody may be reading
    return answer;
  } catch (error) {
    signal.throwIfAborted();
    throw unavailableBy(error, url);
  }
}

const discard = (answer: Dispatcher.ResponseData): void => void answer.body.destroy();

function redirectOf(answer: Dispatcher.ResponseData, from: URL): URL {
  const location = headerOf(answer, "location");
  if (location === undefined || !URL.canParse(location, from)) {
    throw refused(from, answer.statusCode, "redirects to nowhere");
  }
  const to = new URL(location, from);
  if (to.protocol !== "https:" && to.protocol !== "http:") {
    throw refused(from, answer.statusCode, "redirects to something that is not http(s)");
  }
  if (from.protocol === "https:" && to.protocol === "http:") {
    throw refused(
      from,
      answer.statusCode,
      "redirects from https to http, where anyone on the way may change the bytes",
    );
  }
  if (to.username !== "" || to.password !== "") throw refused(from, answer.statusCode, "redirects with credentials");
  return to;
}

function bodyOf(answer: Dispatcher.ResponseData, asking: Asking, url: URL): Body {
  if (!hasIdentityEncoding(answer)) {
    discard(answer);
    throw refused(url, 200, "sends the image compressed although it was told not to");
  }
  const length = headerOf(answer, "content-length");
  const lengthBytes = length !== undefined && /^[0-9]{1,15}$/.test(length) ? Number(length) : undefined;
  const isChunked = headerOf(answer, "transfer-encoding") !== undefined;
  if (lengthBytes === undefined && !isChunked && asking.file.pin === undefined) {
    discard(answer);
    throw refused(url, 200, "tells no length, so a cut download could not be noticed; pin the image by its sha256");
  }
  const hasRanges = headerOf(answer, "accept-ranges")?.toLowerCase() === "bytes";
  return {
    kind: "body",
    fromBytes: 0,
    chunks: chunksOf(answer, url, lengthBytes, asking),
    validators: validatorsOf(answer),
    ...(lengthBytes === undefined ? {} : { lengthBytes }),
    ...(lengthBytes === undefined || !hasRanges ? {} : rangeReader(answer, asking, url, lengthBytes)),
  };
}

/** The rest of a download that was cut. */
function restOf(
  answer: Dispatcher.ResponseData,
  asking: Asking,
  url: URL,
  fromBytes: number,
  lengthBytes: number,
): Body {
  return {
    kind: "body",
    fromBytes,
    chunks: chunksOf(answer, url, lengthBytes - fromBytes, asking),
    lengthBytes,
    validators: validatorsOf(answer),
    ...rangeReader(answer, asking, url, lengthBytes),
  };
}

/** Ranges of the file that `answer` began to send, from where it was found, if they can be told from another file's. */
function rangeReader(
  answer: Dispatcher.ResponseData,
  asking: Asking,
  url: URL,
  lengthBytes: number,
): Pick<Body, "readRange"> {
  const validators = validatorsOf(answer);
  if (!isResumable(validators, asking.file.pin)) return {};
  return {
    readRange: async function* (fromBytes, toBytes, signal) {
      const part = await ask({ ...asking, signal }, url, rangeHeaders(fromBytes, toBytes, validators));
      const wanted = { fromBytes, lengthBytes, validators };
      if (part.statusCode !== 206 || partOf(part, wanted)?.toBytes !== toBytes) {
        discard(part);
        if (part.statusCode !== 200 && part.statusCode !== 206) {
          throw refusedByStatus(asking.file.image, url, part.statusCode);
        }
        throw refused(url, part.statusCode, "has another file by now, or does not serve parts of it; try again");
      }
      yield* chunksOf(part, url, toBytes - fromBytes, { ...asking, signal });
    },
  };
}

const hasIdentityEncoding = (answer: Dispatcher.ResponseData): boolean =>
  (headerOf(answer, "content-encoding") ?? "identity") === "identity";

async function* chunksOf(
  answer: Dispatcher.ResponseData,
  url: URL,
  lengthBytes: number | undefined,
  { file, signal }: Pick<Asking, "file" | "signal">,
): AsyncGenerator<Uint8Array> {
  const drip = new DripWatch(file.profile);
  let received = 0;
  try {
    for await (const chunk of answer.body) {
      if (!(chunk instanceof Uint8Array)) throw new TypeError("a body chunk is not bytes");
      received += chunk.length;
      if (drip.isTooSlow(chunk.length)) {
        throw unavailable(url, `sends less than ${file.profile.idleMinBytes} bytes in idleTimeoutMs (idleMinBytes)`);
      }
      yield chunk;
      drip.resume();
    }
  } catch (error) {
    signal.throwIfAborted();
    throw unavailableBy(error, url);
  }
  if (lengthBytes !== undefined && received !== lengthBytes) {
    throw unavailable(url, `was cut off after ${received} of ${lengthBytes} bytes; try again`);
  }
}

function headerOf(answer: Dispatcher.ResponseData, name: string): string | undefined {
  const value = answer.headers[name];
  return typeof value === "string" ? value : value?.[0];
}

/** Weak tags are left out: they promise less than the same bytes. So is a date too fresh to tell two versions apart. */
function validatorsOf(answer: Dispatcher.ResponseData): Validators {
  const etag = headerOf(answer, "etag");
  const lastModified = headerOf(answer, "last-modified");
  const ageMs = Date.parse(headerOf(answer, "date") ?? "") - Date.parse(lastModified ?? "");
  return {
    ...(etag !== undefined && /^"[\x21\x23-\x7e]{1,200}"$/.test(etag) ? { etag } : {}),
    ...(lastModified !== undefined && lastModified.length < 64 && ageMs >= 2000 ? { lastModified } : {}),
  };
}
