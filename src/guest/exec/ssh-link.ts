// The way by ssh into one guest: one connection for everybody, made when somebody wants it and again after it was lost.

import { createConnection } from "node:net";
import { backoff, sleepMs } from "../../lib/backoff.ts";
import { errorCodeOf } from "../../lib/error-code.ts";
import { untilAborted } from "../../lib/keyed-lock.ts";
import { limitOf } from "../../lib/limit.ts";
import type { GuestTarget } from "../../ports/guest-exec.ts";
import { readExecKeys } from "./keys.ts";
import { openSshConnection, type SshConnection } from "./ssh-connection.ts";
import { SshPort } from "./ssh-port.ts";
import { closed, INSTALL_EITHER, isClosed, reasonOf } from "./ways.ts";

export interface LinkOptions {
  /** A guest that serves ssh says so as soon as we are connected; an emulated one takes a second. */
  readonly silenceMs: number;
  /** From the guest's first word until we are in. */
  readonly handshakeLimitMs: number;
  /** What one caller waits, all tries included. */
  readonly reachLimitMs: number;
  /** After a connection's end: the guest must see that we went, and start its server again. Longer after each failure. */
  readonly pauses: { readonly firstMs: number; readonly maxMs: number };
}

export const LINK_DEFAULTS: LinkOptions = {
  silenceMs: 3_000,
  handshakeLimitMs: 20_000,
  reachLimitMs: 30_000,
  pauses: { firstMs: 300, maxMs: 30_000 },
};

/** A connection that lasted this long was a good one: the failure after it is the first again. */
const PROVEN_MS = 10_000;
/** Whoever comes in a longer pause is told at once why the last try failed. */
const PATIENCE_MS = 2_000;

interface Attempt {
  readonly ready: Promise<SshConnection>;
  /** Resolves with the guest's first word. */
  readonly heard: Promise<void>;
  isHeard: boolean;
  readonly startsAtMs: number;
}

export class SshLink implements Disposable {
  readonly #target: GuestTarget;
  readonly #options: LinkOptions;
  readonly #closing = new AbortController();
  /** Also while the guest says nothing: then it may begin to at any time. */
  #attempt: Attempt | undefined;
  #pauses: Generator<number, never>;
  #notBeforeMs = 0;
  #lastFailure = "";

  constructor(target: GuestTarget, options: LinkOptions) {
    this.#target = target;
    this.#options = options;
    this.#pauses = backoff(options.pauses);
  }

  /** Nobody would miss it. */
  get isIdle(): boolean {
    return this.#attempt === undefined && performance.now() > this.#notBeforeMs;
  }

  /** @throws WRONG_STATE of the guest: it serves no ssh, or does not let us in */
  async connect(signal: AbortSignal): Promise<SshConnection> {
    using limit = limitOf(this.#options.reachLimitMs, new Error("the guest does not let us in in time"));
    return await this.#reach(signal, limit.signal);
  }

  [Symbol.dispose](): void {
    this.#closing.abort(new Error("the way into the guest was closed"));
  }

  async #reach(signal: AbortSignal, limit: AbortSignal): Promise<SshConnection> {
    const waiting = AbortSignal.any([signal, limit, this.#closing.signal]);
    while (!limit.aborted) {
      if (this.#attempt === undefined && this.#notBeforeMs - performance.now() > PATIENCE_MS) break;
      const attempt = (this.#attempt ??= this.#begin());
      try {
        await this.#untilHeard(attempt, waiting);
        return await untilAborted(attempt.ready, waiting);
      } catch (error) {
        signal.throwIfAborted();
        if (isClosed(error)) throw error;
      }
    }
    const why = this.#lastFailure === "" ? "it does not get as far as letting us in" : this.#lastFailure;
    throw closed(this.#target, `its ssh cannot be used: ${why}`);
  }

  async #untilHeard({ isHeard, heard, ready, startsAtMs }: Attempt, signal: AbortSignal): Promise<void> {
    if (isHeard) return;
    const leftMs = startsAtMs + this.#options.silenceMs - performance.now();
    // Not waited for any more: what is asked of a promise stays with it, and this one may be silent for the machine's life.
    if (leftMs <= 0) throw this.#silent();
    using silence = limitOf(leftMs, new Error("the guest says nothing"));
    try {
      await untilAborted(Promise.race([heard, ready]), AbortSignal.any([signal, silence.signal]));
    } catch (error) {
      if (!silence.signal.aborted || signal.aborted) throw error;
      throw this.#silent();
    }
  }

  #silent(): Error {
    return closed(this.#target, `it does not serve ssh (yet: it may still be booting); ${INSTALL_EITHER}`);
  }

  #begin(): Attempt {
    const startsAtMs = Math.max(performance.now(), this.#notBeforeMs);
    const { promise: heard, resolve } = Promise.withResolvers<void>();
    const onHeard = (): void => {
      attempt.isHeard = true;
      resolve();
    };
    const ready = this.#open(startsAtMs, onHeard).catch((error: unknown) => {
      this.#attempt = undefined;
      this.#lastFailure = reasonOf(error);
      this.#pause();
      throw error;
    });
    ready.catch(() => {}); // whoever waits hears it; perhaps nobody does
    const attempt: Attempt = { ready, heard, isHeard: false, startsAtMs };
    return attempt;
  }

  async #open(startsAtMs: number, onHeard: () => void): Promise<SshConnection> {
    const { ssh, user } = this.#target;
    const keys = ssh && (await readExecKeys(ssh.keyFolderPath));
    if (ssh === undefined || keys === undefined) throw closed(this.#target, "it was made without a way in by ssh");
    await sleepMs(Math.max(0, startsAtMs - performance.now()), this.#closing.signal);
    const port = new SshPort(createConnection(ssh.socketPath));
    const leave = (): void => void port.destroy();
    this.#closing.signal.addEventListener("abort", leave, { once: true });
    port.once("close", () => this.#closing.signal.removeEventListener("abort", leave));
    const { handshakeLimitMs } = this.#options;
    let timer: NodeJS.Timeout | undefined;
    port.heard.then(
      () => {
        onHeard();
        const late = new Error(`its ssh server did not let us in within ${handshakeLimitMs} ms`);
        timer = setTimeout(() => port.destroy(late), handshakeLimitMs);
      },
      () => {}, // the port's end is the attempt's
    );
    try {
      const connection = await openSshConnection(port, { user, keys });
      const sinceMs = performance.now();
      connection.ended.addEventListener("abort", () => this.#lose(sinceMs), { once: true });
      return connection;
    } catch (error) {
      port.destroy();
      throw this.#explained(error);
    } finally {
      clearTimeout(timer);
    }
  }

  #lose(sinceMs: number): void {
    this.#attempt = undefined;
    if (performance.now() - sinceMs > PROVEN_MS) this.#pauses = backoff(this.#options.pauses);
    this.#pause();
  }

  #pause(): void {
    this.#notBeforeMs = performance.now() + this.#pauses.next().value;
  }

  /** What no second try would change, as the guest's being closed. */
  #explained(error: unknown): unknown {
    const { user } = this.#target;
    const isRefusal = error instanceof Error && "level" in error && error.level === "client-authentication";
    if (isRefusal) {
      return closed(this.#target, `it does not let ${user} in: is there such a user, with a login shell?`, error);
    }
    const isAbsent = ["ENOENT", "ECONNREFUSED"].includes(errorCodeOf(error) ?? "");
    return isAbsent ? closed(this.#target, `it has no port for ssh; ${INSTALL_EITHER}`, error) : error;
  }
}
