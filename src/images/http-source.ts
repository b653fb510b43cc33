// Downloads over HTTP(S): one stream, with every limit that keeps a bad server from hurting the node.

import { readFile } from "node:fs/promises";
import { Agent, type Dispatcher, ProxyAgent, request } from "undici";
import { VmletError } from "../model/failure.ts";
import { refused, refusedByStatus, unavailable, unavailableBy } from "./http-errors.ts";
import type { TransportProfile } from "./options.ts";

/** By which a server can say that nothing changed since. */
export interface Validators {
  readonly etag?: string;
  readonly lastModified?: string;
}

export interface DownloadRequest {
  /** For messages. */
  readonly image: string;
  readonly url: URL;
  readonly profile: TransportProfile;
  /** No pinned digest will show a cut download: the server must then tell the length, or send chunks. */
  readonly isPinned: boolean;
  /** What is already here; the answer may then be `unchanged`. */
  readonly known?: Validators;
}

export type Download =
  | { readonly kind: "unchanged" }
  | {
      readonly kind: "body";
      readonly chunks: AsyncIterable<Uint8Array>;
      /** From content-length. */
      readonly lengthBytes?: number;
      readonly validators: Validators;
    };

const REDIRECTS: ReadonlySet<number> = new Set([301, 302, 303, 307, 308]);

/**
 * Opens the URL, hands the answer to `use`, and closes everything when that ends, however it ends.
 * @throws IMAGE_NOT_FOUND IMAGE_SOURCE_REFUSED IMAGE_SOURCE_UNAVAILABLE CONFIG_INVALID (profile's files), also from
 *   reading `chunks`; the signal's reason.
 */
export async function withDownload<T>(
  wanted: DownloadRequest,
  use: (download: Download) => Promise<T>,
  signal: AbortSignal,
): Promise<T> {
  signal.throwIfAborted();
  const dispatcher = await dispatcherOf(wanted.profile);
  try {
    return await use(await follow(wanted, dispatcher, signal));
  } finally {
    // A body that was not read to its end must not keep its connection.
    await dispatcher.destroy();
  }
}

async function follow(wanted: DownloadRequest, dispatcher: Dispatcher, signal: AbortSignal): Promise<Download> {
  let url = wanted.url;
  for (let redirects = 0; ; redirects++) {
    const answer = await ask(wanted, url, dispatcher, signal);
    const status = answer.statusCode;
    if (status === 304 && wanted.known !== undefined) return { kind: "unchanged" };
    if (status === 200) return bodyOf(answer, wanted, url, signal);
    discard(answer);
    if (!REDIRECTS.has(status)) throw refusedByStatus(wanted.image, url, status);
    if (redirects >= wanted.profile.maxRedirects) {
      throw refused(wanted.url, status, `redirects more than ${wanted.profile.maxRedirects} times (maxRedirects)`);
    }
    url = redirectOf(answer, url);
  }
}

async function ask(
  wanted: DownloadRequest,
  url: URL,
  dispatcher: Dispatcher,
  signal: AbortSignal,
): Promise<Dispatcher.ResponseData> {
  const { known } = wanted;
  try {
    const answer = await request(url, {
      dispatcher,
      signal,
      headersTimeout: wanted.profile.headersTimeoutMs,
      bodyTimeout: wanted.profile.idleTimeoutMs,
      headers: {
        "user-agent": "vmlet",
        accept: "*/*",
        // The digest is that of the file itself.
        "accept-encoding": "identity",
        ...(known?.etag === undefined ? {} : { "if-none-match": known.etag }),
        ...(known?.lastModified === undefined ? {} : { "if-modified-since": known.lastModified }),
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

function bodyOf(
  answer: Dispatcher.ResponseData,
  wanted: DownloadRequest,
  url: URL,
  signal: AbortSignal,
): Download & { kind: "body" } {
  const encoding = headerOf(answer, "content-encoding") ?? "identity";
  if (encoding !== "identity") throw refused(url, 200, "sends the image compressed although it was told not to");
  const length = headerOf(answer, "content-length");
  const lengthBytes = length !== undefined && /^[0-9]{1,15}$/.test(length) ? Number(length) : undefined;
  const isChunked = headerOf(answer, "transfer-encoding") !== undefined;
  if (lengthBytes === undefined && !isChunked && !wanted.isPinned) {
    throw refused(url, 200, "tells no length, so a cut download could not be noticed; pin the image by its sha256");
  }
  return {
    kind: "body",
    chunks: chunksOf(answer, url, lengthBytes, signal),
    validators: validatorsOf(answer),
    ...(lengthBytes === undefined ? {} : { lengthBytes }),
  };
}

async function* chunksOf(
  answer: Dispatcher.ResponseData,
  url: URL,
  lengthBytes: number | undefined,
  signal: AbortSignal,
): AsyncGenerator<Uint8Array> {
  let received = 0;
  try {
    for await (const chunk of answer.body) {
      if (!(chunk instanceof Uint8Array)) throw new TypeError("a body chunk is not bytes");
      received += chunk.length;
      yield chunk;
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

async function dispatcherOf(profile: TransportProfile): Promise<Dispatcher> {
  const tls = {
    rejectUnauthorized: !profile.insecureSkipVerify,
    ...(profile.caPath === undefined ? {} : { ca: await readProfileFile(profile.caPath, "caPath") }),
    ...(profile.clientCertPath === undefined
      ? {}
      : { cert: await readProfileFile(profile.clientCertPath, "clientCertPath") }),
    ...(profile.clientKeyPath === undefined
      ? {}
      : { key: await readProfileFile(profile.clientKeyPath, "clientKeyPath") }),
    ...(profile.serverName === undefined ? {} : { servername: profile.serverName }),
  };
  const connect = { ...tls, timeout: profile.connectTimeoutMs };
  if (profile.proxyUrl === undefined) return new Agent({ connect });
  return new ProxyAgent({ uri: profile.proxyUrl, requestTls: tls, connect: { timeout: profile.connectTimeoutMs } });
}

async function readProfileFile(path: string, field: string): Promise<Buffer> {
  try {
    return await readFile(path);
  } catch (error) {
    throw new VmletError(
      { code: "CONFIG_INVALID", path, field: `images.profiles.*.${field}` },
      `${field} of a profile in images.profiles cannot be read: ${path}`,
      { cause: error },
    );
  }
}
