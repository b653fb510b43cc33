// Asks one endpoint about one repository: authorization, redirects, retries, limits.
//
// INVARIANTS: the Authorization header, the endpoint's own headers and its client certificate go to the endpoint's
// origin only; nothing is followed from https to http; what is answered is read up to a limit, or not at all.

import { setTimeout as sleep } from "node:timers/promises";
import { type Dispatcher, request } from "undici";
import type { RegistryCredentials } from "../../model/registry-credentials.ts";
import { refused, refusedByStatus, unavailable, unavailableBy } from "../http-errors.ts";
import { PROFILE_DEFAULTS, type TransportProfile } from "../options.ts";
import { type AskTokenServer, Authorization } from "./authorization.ts";
import { type Connections, connectionsTo } from "./connections.ts";
import type { Endpoint } from "./hosts.ts";

export type Answer = Dispatcher.ResponseData;

export interface ClientParts {
  /** For messages. */
  readonly image: string;
  readonly registry: string;
  readonly repository: string;
  readonly credentials: RegistryCredentials | undefined;
  readonly profile: TransportProfile | undefined;
  readonly nowMs: () => number;
}

const REDIRECTS: ReadonlySet<number> = new Set([301, 302, 303, 307, 308]);
const MAX_TOKEN_ANSWER_BYTES = 256 * 1024;
/** A request that is answered "later" is repeated so often, */
const MAX_RETRIES = 4;
/** and waits no longer than that each time: the kubelet waits for us, and comes again itself. */
const MAX_WAIT_MS = 30_000;

export async function openClient(endpoint: Endpoint, parts: ClientParts): Promise<RegistryClient> {
  return new RegistryClient(endpoint, parts, await connectionsTo(endpoint, parts.profile ?? PROFILE_DEFAULTS));
}

/** Dispose it to close its connections, also those that are being read from. */
export class RegistryClient implements AsyncDisposable {
  readonly endpoint: Endpoint;
  readonly #parts: ClientParts;
  readonly #profile: TransportProfile;
  readonly #connections: Connections;
  readonly #authorization: Authorization;

  constructor(endpoint: Endpoint, parts: ClientParts, connections: Connections) {
    this.endpoint = endpoint;
    this.#parts = parts;
    this.#profile = parts.profile ?? PROFILE_DEFAULTS;
    this.#connections = connections;
    this.#authorization = new Authorization(parts.repository, parts.credentials, this.#askTokenServer, parts.nowMs);
  }

  /**
   * A GET under the repository. The body is the caller's to read or destroy.
   * @param path `manifests/latest`
   * @throws IMAGE_NOT_FOUND IMAGE_SOURCE_REFUSED IMAGE_SOURCE_UNAVAILABLE CONFIG_INVALID, for all but 200 and 206
   */
  async get(
    path: string,
    headers: Readonly<Record<string, string>>,
    signal: AbortSignal,
  ): Promise<{ readonly answer: Answer; readonly url: URL }> {
    const start = this.#urlOf(path);
    let isRenewed = false;
    for (let retries = 0; ; ) {
      const { answer, url } = await this.#follow(start, headers, signal);
      const status = answer.statusCode;
      if (status === 200 || status === 206) return { answer, url };
      answer.body.destroy();
      if (status === 401 && !isRenewed && url.origin === start.origin) {
        isRenewed = true;
        if (await this.#authorization.answer(headersOf(answer, "www-authenticate"), start, signal)) continue;
      }
      const waitMs = isBusy(status) && retries < MAX_RETRIES ? waitOf(answer, retries, this.#parts.nowMs()) : undefined;
      if (waitMs === undefined) throw this.#refusal(url, status);
      retries++;
      await sleep(waitMs, undefined, { signal }).catch(() => signal.throwIfAborted());
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#connections[Symbol.asyncDispose]();
  }

  #urlOf(path: string): URL {
    const { baseUrl, isMirror } = this.endpoint;
    const url = new URL(baseUrl);
    url.pathname = `${baseUrl.pathname}/${this.#parts.repository}/${path}`;
    // As containerd does: a mirror may serve several registries.
    if (isMirror) url.searchParams.set("ns", this.#parts.registry);
    return url;
  }

  async #follow(
    start: URL,
    headers: Readonly<Record<string, string>>,
    signal: AbortSignal,
  ): Promise<{ readonly answer: Answer; readonly url: URL }> {
    let url = start;
    for (let redirects = 0; ; redirects++) {
      const answer = await this.#send(
        url,
        { headers: { ...headers, ...(await this.#ownHeaders(url, signal)) } },
        signal,
      );
      if (!REDIRECTS.has(answer.statusCode)) return { answer, url };
      answer.body.destroy();
      if (redirects >= this.#profile.maxRedirects) {
        throw refused(
          start,
          answer.statusCode,
          `redirects more than ${this.#profile.maxRedirects} times (maxRedirects)`,
        );
      }
      url = redirectOf(answer, url);
    }
  }

  /** What nobody but the endpoint may see. */
  async #ownHeaders(url: URL, signal: AbortSignal): Promise<Record<string, string | string[]>> {
    const { baseUrl, headers } = this.endpoint;
    if (url.origin !== baseUrl.origin) return {};
    const authorization = await this.#authorization.header(baseUrl, signal);
    const own = Object.entries(headers).map(([name, values]) => [name.toLowerCase(), [...values]] as const);
    return { ...Object.fromEntries(own), ...(authorization === undefined ? {} : { authorization }) };
  }

  readonly #askTokenServer: AskTokenServer = async (url, { method, headers, body }, signal) => {
    const answer = await this.#send(url, { method, headers, ...(body === undefined ? {} : { body }) }, signal);
    const bytes = await readAll(answer, url, MAX_TOKEN_ANSWER_BYTES, signal);
    return { status: answer.statusCode, text: bytes.toString("utf8") };
  };

  async #send(
    url: URL,
    options: {
      readonly method?: "GET" | "POST";
      readonly headers: Readonly<Record<string, string | string[]>>;
      readonly body?: string;
    },
    signal: AbortSignal,
  ): Promise<Answer> {
    try {
      const answer = await request(url, {
        dispatcher: this.#connections.dispatcherFor(url),
        signal,
        method: options.method ?? "GET",
        headersTimeout: this.#profile.headersTimeoutMs,
        bodyTimeout: this.#profile.idleTimeoutMs,
        headers: { "user-agent": "vmlet", "accept-encoding": "identity", ...options.headers },
        ...(options.body === undefined ? {} : { body: options.body }),
      });
      answer.body.on("error", () => {}); // whoever reads it gets the error; nobody may be reading
      return answer;
    } catch (error) {
      signal.throwIfAborted();
      throw unavailableBy(error, url);
    }
  }

  /** Registries answer 401 for a repository that is not there, too. */
  #refusal(url: URL, status: number): Error {
    if (status !== 401 && status !== 403) return refusedByStatus(this.#parts.image, url, status);
    const given = this.#parts.credentials;
    return refused(
      url,
      status,
      given === undefined
        ? `answers ${status}: it is private or not there, and there are no credentials for ${this.#parts.registry}`
        : `answers ${status}: it is not there, or the credentials for ${this.#parts.registry} do not open it`,
    );
  }
}

/** @throws IMAGE_SOURCE_REFUSED when there is more than that, IMAGE_SOURCE_UNAVAILABLE */
export async function readAll(answer: Answer, url: URL, maxBytes: number, signal: AbortSignal): Promise<Buffer> {
  const chunks: Uint8Array[] = [];
  let length = 0;
  for await (const chunk of chunksOf(answer, url, signal)) {
    length += chunk.length;
    if (length > maxBytes) throw refused(url, answer.statusCode, `answers with more than ${maxBytes} bytes`);
    chunks.push(chunk);
  }
  return Buffer.concat(chunks);
}

/** The body; whoever stops reading closes it. */
export async function* chunksOf(answer: Answer, url: URL, signal: AbortSignal): AsyncGenerator<Uint8Array> {
  try {
    for await (const chunk of answer.body) {
      if (!(chunk instanceof Uint8Array)) throw new TypeError("a body chunk is not bytes");
      yield chunk;
    }
  } catch (error) {
    signal.throwIfAborted();
    throw unavailableBy(error, url);
  }
}

export function headersOf(answer: Answer, name: string): string {
  const value = answer.headers[name];
  return typeof value === "string" ? value : (value ?? []).join(", ");
}

const isBusy = (status: number): boolean => status === 429 || status === 502 || status === 503 || status === 504;

/** Undefined: longer than we wait. */
function waitOf(answer: Answer, retries: number, nowMs: number): number | undefined {
  const told = headersOf(answer, "retry-after");
  const seconds = /^\d{1,9}$/.test(told) ? Number(told) * 1000 : Date.parse(told) - nowMs;
  const waitMs = Number.isNaN(seconds) ? 500 * 2 ** retries : Math.max(0, seconds);
  return waitMs <= MAX_WAIT_MS ? waitMs : undefined;
}

function redirectOf(answer: Answer, from: URL): URL {
  const location = headersOf(answer, "location");
  const to = URL.canParse(location, from) ? new URL(location, from) : undefined;
  if (to === undefined || location === "" || !/^https?:$/.test(to.protocol)) {
    throw refused(from, answer.statusCode, "redirects to something that is not http(s)");
  }
  if (from.protocol === "https:" && to.protocol === "http:") {
    throw refused(from, answer.statusCode, "redirects from https to http, where anyone on the way may look and change");
  }
  if (to.username !== "" || to.password !== "") throw refused(from, answer.statusCode, "redirects with credentials");
  return to;
}

/** What a retry may mend. */
export const cutOff = (url: URL, received: number, of: number): Error =>
  unavailable(url, `was cut off after ${received} of ${of} bytes; try again`);
