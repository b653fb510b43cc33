// How one endpoint is convinced to serve one repository: Basic, a given token, or one from its token server.

import { z } from "zod";
import type { RegistryCredentials } from "../../model/registry-credentials.ts";
import { refused, unavailable } from "../http-errors.ts";
import { type Challenge, parseChallenges } from "./challenge.ts";

/** Sends a request to a token server. Redirects are answers like any other here: credentials do not follow them. */
export type AskTokenServer = (
  url: URL,
  request: {
    readonly method: "GET" | "POST";
    readonly headers: Readonly<Record<string, string>>;
    readonly body?: string;
  },
  signal: AbortSignal,
) => Promise<{ readonly status: number; readonly text: string }>;

interface Held {
  /** Value of the Authorization header. */
  readonly value: string;
  /** 0: it does not expire. */
  readonly expiresAtMs: number;
  /** How to get the next. */
  readonly challenge: Challenge;
}

const tokenAnswer = z.object({
  token: z.string().nullish(),
  access_token: z.string().nullish(),
  expires_in: z.number().nullish(),
});

/** The token specification's default, and the least that a server may mean. */
const LEAST_LIFETIME_S = 60;
/** A token is renewed when it has less left than this. */
const MARGIN_MS = 10_000;
/** Nothing that could end the header it is put into. */
const TOKEN = /^[\x21-\x7e]{1,65536}$/;
const CLIENT_ID = "vmlet";

/** Made for one pull from one endpoint, whose requests may be made at the same time. */
export class Authorization {
  readonly #repository: string;
  readonly #credentials: RegistryCredentials | undefined;
  readonly #ask: AskTokenServer;
  readonly #nowMs: () => number;
  #held: Held | undefined;

  constructor(
    repository: string,
    credentials: RegistryCredentials | undefined,
    ask: AskTokenServer,
    nowMs: () => number,
  ) {
    this.#repository = repository;
    this.#credentials = credentials;
    this.#ask = ask;
    this.#nowMs = nowMs;
  }

  /** For the next request; a token that is about to expire is renewed first. Undefined: nothing was asked for yet. */
  async header(registry: URL, signal: AbortSignal): Promise<string | undefined> {
    const given = this.#credentials?.registryToken;
    if (given !== undefined && given !== "") {
      if (TOKEN.test(given)) return `Bearer ${given}`;
      throw refused(
        registry,
        401,
        "was not asked: the registry token given for it is not one (it has blanks, or signs beyond ASCII)",
      );
    }
    const held = this.#held;
    if (held !== undefined && held.expiresAtMs !== 0 && held.expiresAtMs - MARGIN_MS <= this.#nowMs()) {
      this.#held = await this.#fromTokenServer(held.challenge, registry, signal);
    }
    return this.#held?.value;
  }

  /**
   * Takes up what a 401 wants.
   * @param sent The header of the request that was refused.
   * @returns false when there is nothing to be done about it.
   * @throws IMAGE_SOURCE_REFUSED IMAGE_SOURCE_UNAVAILABLE, of the token server
   */
  async answer(
    wwwAuthenticate: string,
    sent: string | undefined,
    registry: URL,
    signal: AbortSignal,
  ): Promise<boolean> {
    if (this.#credentials?.registryToken) return false;
    if (this.#held !== undefined && this.#held.value !== sent) return true; // by another request, meanwhile
    const challenges = parseChallenges(wwwAuthenticate);
    const bearer = challenges.find(({ scheme }) => scheme === "bearer");
    if (bearer !== undefined) {
      this.#held = await this.#fromTokenServer(bearer, registry, signal);
      return true;
    }
    const basic = challenges.find(({ scheme }) => scheme === "basic");
    const value = this.#basic();
    if (basic === undefined || value === undefined || sent === value) return false;
    this.#held = { value, expiresAtMs: 0, challenge: basic };
    return true;
  }

  async #fromTokenServer(challenge: Challenge, registry: URL, signal: AbortSignal): Promise<Held> {
    const realm = realmOf(challenge, registry);
    const startedAtMs = this.#nowMs();
    const { status, text } = await this.#askForToken(realm, challenge, signal);
    if (status === 401 || status === 403) {
      throw refused(
        realm,
        status,
        `answers ${status}: ${this.#credentials ? "it does not take the credentials" : "it gives no token without credentials"}`,
      );
    }
    if (status === 429 || status >= 500) throw unavailable(realm, `answers ${status}; try again later`);
    if (status !== 200) throw refused(realm, status, `answers ${status} instead of a token`);
    const { token, lifetimeS } = readToken(text, realm);
    return { value: `Bearer ${token}`, expiresAtMs: startedAtMs + lifetimeS * 1000, challenge };
  }

  async #askForToken(realm: URL, { params }: Challenge, signal: AbortSignal): ReturnType<AskTokenServer> {
    const scope = params["scope"] ?? `repository:${this.#repository}:pull`;
    const service = params["service"];
    const query = { ...(service === undefined ? {} : { service }), scope, client_id: CLIENT_ID };
    const identity = this.#credentials?.identityToken;
    if (identity !== undefined && identity !== "") {
      const body = new URLSearchParams({ ...query, grant_type: "refresh_token", refresh_token: identity }).toString();
      const headers = { "content-type": "application/x-www-form-urlencoded" };
      const answer = await this.#ask(realm, { method: "POST", headers, body }, signal);
      // A token server that knows no OAuth 2 (distribution, docs/spec/auth/oauth.md).
      if (answer.status !== 404 && answer.status !== 405) return answer;
    }
    const url = new URL(realm);
    for (const [name, value] of Object.entries(query)) url.searchParams.set(name, value);
    const basic = this.#basic();
    return this.#ask(url, { method: "GET", headers: basic === undefined ? {} : { authorization: basic } }, signal);
  }

  #basic(): string | undefined {
    const { username = "", password = "" } = this.#credentials ?? {};
    if (username === "" && password === "") return undefined;
    return `Basic ${Buffer.from(`${username}:${password}`).toString("base64")}`;
  }
}

/** Where credentials are sent to: never less protected than the registry itself. */
function realmOf({ params }: Challenge, registry: URL): URL {
  const realm = params["realm"] ?? "";
  const url = URL.canParse(realm) ? new URL(realm) : undefined;
  const isProtected = url?.protocol === "https:" || (url?.protocol === "http:" && registry.protocol === "http:");
  if (url === undefined || !isProtected || url.username !== "" || url.password !== "") {
    throw refused(
      registry,
      401,
      "wants a token from a server that it does not name by an http(s) URL as safe as its own",
    );
  }
  return url;
}

function readToken(text: string, realm: URL): { readonly token: string; readonly lifetimeS: number } {
  let answer: unknown;
  try {
    answer = JSON.parse(text);
  } catch {
    answer = undefined;
  }
  const { data } = tokenAnswer.safeParse(answer);
  const token = data?.token || data?.access_token || "";
  if (!TOKEN.test(token)) throw refused(realm, 200, "answers without a token");
  return { token, lifetimeS: Math.max(LEAST_LIFETIME_S, data?.expires_in ?? LEAST_LIFETIME_S) };
}
