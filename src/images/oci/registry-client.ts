// Asks one endpoint about one repository: authorization, redirects, retries, limits.
//
// INVARIANTS: the Authorization header, the endpoint's own headers and its client certificate go to the endpoint's
// origin only; neither a redirect nor the name of a token server leads inwards; what is answered is read up to a limit,
// or not at all.

import { sleepMs } from "../../lib/backoff.ts";
import type { RegistryCredentials } from "../../model/registry-credentials.ts";
import { refused, refusedByStatus } from "../http-errors.ts";
import { PROFILE_DEFAULTS, type TransportProfile } from "../options.ts";
import { RedirectGuard } from "../private-address.ts";
import { type Answered, follow } from "../redirects.ts";
import { type Answer, chunksOf, headerOf, type Question, send } from "../transport.ts";
import { type AskTokenServer, Authorization } from "./authorization.ts";
import { type Connections, connectionsTo } from "./connections.ts";
import type { Endpoint } from "./hosts.ts";

export interface ClientParts {
  /** For messages. */
  readonly image: string;
  readonly registry: string;
  readonly repository: string;
  readonly credentials: RegistryCredentials | undefined;
  readonly profile: TransportProfile | undefined;
  readonly nowMs: () => number;
}

interface OpenParts extends ClientParts {
  readonly profile: TransportProfile;
  readonly guard: RedirectGuard | undefined;
}

const MAX_TOKEN_ANSWER_BYTES = 256 * 1024;
/** A request that is answered "later" is repeated so often, */
const MAX_RETRIES = 4;
/** and waits no longer than that each time: the kubelet waits for us, and comes again itself. */
const MAX_WAIT_MS = 30_000;

export async function openClient(endpoint: Endpoint, parts: ClientParts): Promise<RegistryClient> {
  const profile = parts.profile ?? PROFILE_DEFAULTS;
  const guard = profile.allowPrivateRedirects ? undefined : new RedirectGuard(endpoint.baseUrl);
  return new RegistryClient(endpoint, { ...parts, profile, guard }, await connectionsTo(endpoint, profile, guard));
}

/** Dispose it to close its connections, also those that are being read from. */
export class RegistryClient implements AsyncDisposable {
  readonly endpoint: Endpoint;
  /** Its time limits are those of reading the answers, too. */
  readonly profile: TransportProfile;
  readonly #parts: OpenParts;
  readonly #connections: Connections;
  readonly #authorization: Authorization;

  constructor(endpoint: Endpoint, parts: OpenParts, connections: Connections) {
    this.endpoint = endpoint;
    this.profile = parts.profile;
    this.#parts = parts;
    this.#connections = connections;
    this.#authorization = new Authorization(parts.repository, parts.credentials, this.#askTokenServer, parts.nowMs);
  }

  /**
   * A GET under the repository. The body is the caller's to read or destroy.
   * @param path `manifests/latest`, `referrers/sha256:…?n=10`
   * @throws IMAGE_NOT_FOUND IMAGE_SOURCE_REFUSED IMAGE_SOURCE_UNAVAILABLE CONFIG_INVALID, for all but 200 and 206
   */
  async get(path: string, headers: Readonly<Record<string, string>>, signal: AbortSignal): Promise<Answered> {
    const start = this.#urlOf(path);
    let isRenewed = false;
    for (let retries = 0; ; ) {
      const { answer, url, sent } = await this.#follow(start, headers, signal);
      const status = answer.statusCode;
      if (status === 200 || status === 206) return { answer, url };
      answer.body.destroy();
      if (status === 401 && !isRenewed && url.origin === start.origin) {
        isRenewed = true;
        if (await this.#authorization.answer(headerOf(answer, "www-authenticate"), sent, start, signal)) continue;
      }
      const waitMs = isBusy(status) && retries < MAX_RETRIES ? waitOf(answer, retries, this.#parts.nowMs()) : undefined;
      if (waitMs === undefined) throw this.#refusal(url, status);
      retries++;
      await sleepMs(waitMs, signal);
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#connections[Symbol.asyncDispose]();
  }

  #urlOf(path: string): URL {
    const { baseUrl, isOtherHost } = this.endpoint;
    const url = new URL(baseUrl);
    const [name, query = ""] = path.split("?");
    url.pathname = `${baseUrl.pathname.replace(/\/$/, "")}/${this.#parts.repository}/${name}`;
    url.search = query;
    if (isOtherHost) url.searchParams.set("ns", this.#parts.registry);
    return url;
  }

  /** @returns also what `#authorization` gave to the last request. */
  async #follow(start: URL, headers: Readonly<Record<string, string>>, signal: AbortSignal) {
    const { baseUrl } = this.endpoint;
    const rules = { maxRedirects: this.profile.maxRedirects, guard: this.#parts.guard };
    let sent: string | undefined;
    const answered = await follow(start, rules, async (url) => {
      const isEndpoint = url.origin === baseUrl.origin;
      sent = isEndpoint ? await this.#authorization.header(baseUrl, signal) : undefined;
      const own = isEndpoint ? this.#ownHeaders(sent) : {};
      return this.#send(url, { headers: { ...headers, ...own } }, signal);
    });
    return { ...answered, sent };
  }

  /** What nobody but the endpoint may see. */
  #ownHeaders(authorization: string | undefined): Record<string, string | string[]> {
    const own = Object.entries(this.endpoint.headers).map(
      ([name, values]) => [name.toLowerCase(), [...values]] as const,
    );
    return { ...Object.fromEntries(own), ...(authorization === undefined ? {} : { authorization }) };
  }

  readonly #askTokenServer: AskTokenServer = async (url, { method, headers: asked, body }, signal) => {
    this.#parts.guard?.check(url);
    const own = url.origin === this.endpoint.baseUrl.origin ? this.#ownHeaders(undefined) : {};
    const headers = { ...own, ...asked };
    const answer = await this.#send(url, { method, headers, ...(body === undefined ? {} : { body }) }, signal);
    const bytes = await readAll({ answer, url }, this.profile, MAX_TOKEN_ANSWER_BYTES, signal);
    return { status: answer.statusCode, text: bytes.toString("utf8") };
  };

  async #send(url: URL, asked: Omit<Question, "dispatcher" | "profile">, signal: AbortSignal): Promise<Answer> {
    return send(url, { ...asked, dispatcher: this.#connections.dispatcherFor(url), profile: this.profile }, signal);
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
export async function readAll(
  { answer, url }: Answered,
  profile: TransportProfile,
  maxBytes: number,
  signal: AbortSignal,
): Promise<Buffer> {
  const chunks: Uint8Array[] = [];
  let length = 0;
  for await (const chunk of chunksOf(answer, { url, profile }, signal)) {
    length += chunk.length;
    if (length > maxBytes) throw refused(url, answer.statusCode, `answers with more than ${maxBytes} bytes`);
    chunks.push(chunk);
  }
  return Buffer.concat(chunks);
}

const isBusy = (status: number): boolean => status === 429 || status === 502 || status === 503 || status === 504;

/** Undefined: longer than we wait. */
function waitOf(answer: Answer, retries: number, nowMs: number): number | undefined {
  const told = headerOf(answer, "retry-after");
  const seconds = /^\d{1,9}$/.test(told) ? Number(told) * 1000 : Date.parse(told) - nowMs;
  const waitMs = Number.isNaN(seconds) ? 500 * 2 ** retries : Math.max(0, seconds);
  return waitMs <= MAX_WAIT_MS ? waitMs : undefined;
}
