// One runtime as the router uses it: asked within a limit, remembered where it does not answer.

import type { Logger } from "../ports/logger.ts";
import type { Backend } from "./backend.ts";
import { isUnfiltered } from "./filter.ts";
import { CODE, RpcError } from "./grpc.ts";
import type { Headers } from "./http2/hpack.ts";
import { type Kind, LIST_PATH } from "./methods.ts";
import type { SavedMirror } from "./mirror-file.ts";

/** What a list waits for a runtime that was too slow the last time: long enough for one that has recovered. */
const LATE_LIMIT_MS = 20;
const SHARE_OF_TIMEOUT = 0.8;

export interface Question {
  readonly path: string;
  readonly request: Uint8Array;
  readonly metadata: Headers;
  /** What is listed, where it is remembered item by item. */
  readonly kind?: Kind | undefined;
  /** What the caller gives it all in all; some of that is for answering from memory. */
  readonly timeoutMs?: number | undefined;
}

export interface RuntimeOptions {
  /** How long it is waited for. Whatever takes longer says that it is down. */
  readonly answerWithinMs: number;
  /** Whether a list without it is none. Otherwise what is not known of it is nothing. */
  readonly isNeeded: boolean;
}

export interface RuntimeParts {
  readonly backend: Backend;
  readonly saved: SavedMirror;
  readonly log: Logger;
  /** A list was answered from memory. */
  readonly onStale: (runtime: string, path: string) => void;
  /** It was asked, and answered or not. */
  readonly onReach: (runtime: string, isUp: boolean) => void;
}

export class Runtime {
  readonly backend: Backend;
  readonly saved: SavedMirror;
  readonly #options: RuntimeOptions;
  readonly #log: Logger;
  readonly #onStale: RuntimeParts["onStale"];
  readonly #onReach: RuntimeParts["onReach"];
  #isLate = false;
  #isDown = false;

  constructor(options: RuntimeOptions, { backend, saved, log, onStale, onReach }: RuntimeParts) {
    this.#options = options;
    this.backend = backend;
    this.saved = saved;
    this.#log = log;
    this.#onStale = onStale;
    this.#onReach = onReach;
  }

  get name(): string {
    return this.backend.name;
  }

  /** Whether it did not answer when it was last asked. */
  get isDown(): boolean {
    return this.#isDown;
  }

  /** The one answer of a call. @throws RpcError, UNAVAILABLE also where it does not answer in time. */
  async ask(question: Question, signal: AbortSignal): Promise<Uint8Array> {
    return Buffer.concat(await this.#askWithin(this.#options.answerWithinMs, question, signal));
  }

  /**
   * The messages that a list call is answered by, from memory while the runtime cannot be asked.
   * @throws RpcError where the runtime does answer, with an error; UNAVAILABLE where it is needed and there is no memory of that.
   */
  async list(question: Question, signal: AbortSignal): Promise<readonly Uint8Array[]> {
    const { path, request, kind } = question;
    const { mirror } = this.saved;
    const changesBefore = mirror.changes;
    try {
      const waitMs = this.#isLate && this.#canRemember(question) ? LATE_LIMIT_MS : this.#options.answerWithinMs;
      const messages = await this.#askWithin(waitMs, question, signal);
      if (kind === undefined) mirror.keepAnswer(path, request, messages);
      else {
        const list = messages.length === 1 ? (messages[0] as Uint8Array) : Buffer.concat(messages);
        mirror.learn(kind, list, { isWhole: isUnfiltered(request), isStale: mirror.changes !== changesBefore });
      }
      return messages;
    } catch (error) {
      signal.throwIfAborted();
      if (!(error instanceof RpcError) || error.code !== CODE.UNAVAILABLE || !this.#canRemember(question)) throw error;
      return this.remembered(question);
    }
  }

  /** What it answered last, or would have. */
  remembered({ path, request, kind }: Question): readonly Uint8Array[] {
    const { mirror } = this.saved;
    this.#onStale(this.name, path);
    return kind === undefined ? (mirror.lastAnswer(path, request) ?? []) : [mirror.answer(kind, request)];
  }

  /** Asks for all it has, so that ids are known. What it does not answer stays as it is known. */
  async learn(signal: AbortSignal): Promise<void> {
    const kinds = Object.keys(LIST_PATH) as Kind[];
    await Promise.all(
      kinds.map(async (kind) => {
        const question = { path: LIST_PATH[kind], request: new Uint8Array(), metadata: [], kind };
        await this.list(question, signal).catch(() => {});
      }),
    );
  }

  /** An empty list for what was never heard would have the kubelet take all pods for dead. */
  #canRemember({ path, request, kind }: Question): boolean {
    if (!this.#options.isNeeded) return true;
    const { mirror } = this.saved;
    return kind === undefined ? mirror.lastAnswer(path, request) !== undefined : mirror.hasHeard(kind);
  }

  /** For as long as that, and as the caller's own limit lets us. @throws as `ask` */
  async #askWithin(
    waitMs: number,
    { path, request, metadata, timeoutMs = Number.POSITIVE_INFINITY }: Question,
    signal: AbortSignal,
  ): Promise<Uint8Array[]> {
    const limitMs = Math.min(waitMs, timeoutMs * SHARE_OF_TIMEOUT);
    signal.throwIfAborted();
    const giveUp = new AbortController();
    const onAbort = (): void => giveUp.abort(signal.reason);
    signal.addEventListener("abort", onAbort, { once: true });
    const answering = this.#collect(path, request, metadata, giveUp);
    const { promise: late, reject } = Promise.withResolvers<never>();
    const timer = setTimeout(() => {
      reject(this.backend.unavailable(new Error(`no answer within ${limitMs} ms`)));
      // It is left to answer after all, whatever its caller does now: that tells how it is.
      signal.removeEventListener("abort", onAbort);
    }, limitMs);
    try {
      return await Promise.race([answering, late]);
    } finally {
      clearTimeout(timer);
      signal.removeEventListener("abort", onAbort);
    }
  }

  /** It is late when it has had its whole time, however little of that one caller had; some time later it is given up. */
  async #collect(path: string, request: Uint8Array, metadata: Headers, giveUp: AbortController): Promise<Uint8Array[]> {
    const { signal } = giveUp;
    const { answerWithinMs } = this.#options;
    let timer = setTimeout(() => {
      this.#isLate = true;
      this.#note(true);
      timer = setTimeout(() => giveUp.abort(), answerWithinMs).unref();
    }, answerWithinMs).unref();
    try {
      const messages = await Array.fromAsync(this.backend.stream(path, request, metadata, signal));
      this.#isLate = false;
      this.#note(false);
      return messages;
    } catch (error) {
      if (!signal.aborted && error instanceof RpcError) {
        if (error.code !== CODE.UNAVAILABLE) this.#isLate = false;
        this.#note(error.code === CODE.UNAVAILABLE);
      }
      throw error;
    } finally {
      clearTimeout(timer);
    }
  }

  #note(isDown: boolean): void {
    this.#onReach(this.name, !isDown);
    if (isDown === this.#isDown) return;
    this.#isDown = isDown;
    if (isDown) this.#log.error("runtime does not answer; its lists are given from memory", { runtime: this.name });
    else this.#log.info("runtime answers", { runtime: this.name });
  }
}
