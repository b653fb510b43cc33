// Tokens: whoever has one may open one session, once, for a short while.

import { randomBytes } from "node:crypto";
import { VmletError } from "../model/failure.ts";

/** 256 bits: nobody guesses one, so how often somebody tries is of no interest. */
const TOKEN_BYTES = 32;
/** As the kubelet's own streaming server. */
const LIFE_MS = 60_000;
const MAX_IN_FLIGHT = 1_000;

export class Tokens<T> {
  /** In the order of their end, for all live equally long. */
  readonly #waiting = new Map<string, { readonly what: T; readonly endsAtMs: number }>();
  readonly #nowMs: () => number;

  /** `nowMs` must not go back. */
  constructor(nowMs: () => number) {
    this.#nowMs = nowMs;
  }

  /** @throws STREAMING_BUSY when too many wait for their client. */
  issue(what: T): string {
    this.#dropOld();
    if (this.#waiting.size >= MAX_IN_FLIGHT) {
      throw new VmletError(
        { code: "STREAMING_BUSY", limit: MAX_IN_FLIGHT },
        `${MAX_IN_FLIGHT} streaming URLs wait for their client; try again in a minute`,
      );
    }
    const token = randomBytes(TOKEN_BYTES).toString("base64url");
    this.#waiting.set(token, { what, endsAtMs: this.#nowMs() + LIFE_MS });
    return token;
  }

  /** What it was issued for; undefined when it is unknown, used or too old. */
  take(token: string): T | undefined {
    this.#dropOld();
    const found = this.#waiting.get(token);
    this.#waiting.delete(token);
    return found?.what;
  }

  #dropOld(): void {
    const nowMs = this.#nowMs();
    for (const [token, { endsAtMs }] of this.#waiting) {
      if (endsAtMs > nowMs) return;
      this.#waiting.delete(token);
    }
  }
}
