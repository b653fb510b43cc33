// Follows one console: says when to copy. Silent consoles cost a watch; printing ones are polled, because QEMU may write
// byte by byte and an event for each would cost more than looking now and then.

import { watch } from "node:fs";
import { backoff, sleepMs } from "../lib/backoff.ts";
import type { ConsoleLogRequest } from "../ports/console-log.ts";
import { Copier, type CopierParts, type Step } from "./copier.ts";
import type { Flush } from "./cri-lines.ts";
import type { ConsoleOptions } from "./options.ts";

const RETRY = { firstMs: 500, maxMs: 30_000 };
const FINISH_TRIES = 3;

export class Tail {
  readonly #request: ConsoleLogRequest;
  readonly #options: ConsoleOptions;
  readonly #parts: CopierParts;
  readonly #copier: Copier;
  readonly #running: Promise<void>;
  readonly #ending = new AbortController();
  /** One step or one reopen at a time. */
  #turn: Promise<unknown> = Promise.resolve();
  #retries = backoff(RETRY);
  #isFailing = false;
  /** When the unfinished line that waits now was first seen; milliseconds of the monotonic clock. */
  #waitingSinceMs: number | undefined;
  #lastSourceBytes = 0;

  private constructor(request: ConsoleLogRequest, options: ConsoleOptions, parts: CopierParts, copier: Copier) {
    this.#request = request;
    this.#options = options;
    this.#parts = parts;
    this.#copier = copier;
    this.#running = this.#follow();
  }

  /** Resolves when the log was opened, or could not be: that is tried again and never fails the machine. */
  static async start(request: ConsoleLogRequest, options: ConsoleOptions, parts: CopierParts): Promise<Tail> {
    const copier = await Copier.open(request, options, parts);
    const tail = new Tail(request, options, parts, copier);
    await tail.#inTurn(async () => {}); // behind the first step
    return tail;
  }

  /** Opens the log's path anew between two steps. */
  async reopen(): Promise<void> {
    await this.#inTurn(async () => this.#copier.reopen());
  }

  /** Stops where it is: an unfinished line stays unwritten, for the next daemon to go on with. */
  async stop(): Promise<void> {
    this.#ending.abort();
    await this.#running;
    await this.#inTurn(async () => this.#copier[Symbol.asyncDispose]());
  }

  /** Stops when all that is in the console file is in the log. Gives up, saying so, when the log cannot be written. */
  async finish(): Promise<void> {
    this.#ending.abort();
    await this.#running;
    const pauses = backoff(RETRY);
    for (let failures = 0; ; ) {
      try {
        const { isCaughtUp } = await this.#step("ended");
        if (isCaughtUp) break;
      } catch (error) {
        failures += 1;
        if (failures === FINISH_TRIES) {
          this.#parts.log.error("console log is incomplete", { path: this.#request.logPath, error });
          break;
        }
        await sleepMs(pauses.next().value, AbortSignal.timeout(RETRY.maxMs));
      }
    }
    await this.#inTurn(async () => this.#copier[Symbol.asyncDispose]());
  }

  /** Never rejects: whatever is wrong with this console is tried again later, and no other's business. */
  async #follow(): Promise<void> {
    while (!this.#ending.signal.aborted) {
      try {
        const isSilent = await this.#advance();
        if (isSilent) await this.#untilItPrints();
        else await this.#nap(this.#options.activePollMs);
      } catch (error) {
        if (this.#ending.signal.aborted) return;
        if (!this.#isFailing) this.#parts.log.warn("console log cannot be written; trying again", { error });
        this.#isFailing = true;
        await this.#nap(this.#retries.next().value);
      }
    }
  }

  /** Copies all there is. True when nothing was new and nothing waits. */
  async #advance(): Promise<boolean> {
    const before = this.#lastSourceBytes;
    let step = await this.#step("waiting");
    while (!step.isCaughtUp && !this.#ending.signal.aborted) step = await this.#step("waiting");
    if (this.#isFailing) {
      this.#parts.log.info("console log can be written again");
      this.#isFailing = false;
      this.#retries = backoff(RETRY);
    }
    if (step.waitingBytes === 0) this.#waitingSinceMs = undefined;
    else {
      this.#waitingSinceMs ??= performance.now();
      if (performance.now() - this.#waitingSinceMs < this.#options.idleFlushMs) return false;
      step = await this.#step("idle");
      this.#waitingSinceMs = undefined;
    }
    return step.sourceBytes === before;
  }

  async #step(flush: Flush): Promise<Step> {
    const step = await this.#inTurn(async () => this.#copier.step(flush));
    this.#lastSourceBytes = step.sourceBytes;
    return step;
  }

  async #untilItPrints(): Promise<void> {
    let hasPrinted = false;
    let wakeUp = (): void => {};
    using watcher = this.#watch(() => {
      hasPrinted = true;
      wakeUp();
    });
    if (watcher === undefined) return await this.#nap(this.#options.unwatchedPollMs);
    while (!hasPrinted && !this.#ending.signal.aborted) {
      // What was printed between the last look and the watch has no event; what came later may have missed its own.
      const { sourceBytes } = await this.#inTurn(async () => this.#copier.step("waiting"));
      if (hasPrinted || sourceBytes !== this.#lastSourceBytes) return;
      const printed = new AbortController();
      wakeUp = () => printed.abort();
      await this.#nap(this.#options.safetyPollMs, printed.signal);
    }
  }

  #watch(onChange: () => void): (Disposable & object) | undefined {
    try {
      const watcher = watch(this.#request.consoleFilePath, { persistent: false }, onChange);
      watcher.on("error", onChange);
      return { [Symbol.dispose]: () => watcher.close() };
    } catch {
      return undefined;
    }
  }

  async #nap(ms: number, signal?: AbortSignal): Promise<void> {
    const either = signal === undefined ? this.#ending.signal : AbortSignal.any([signal, this.#ending.signal]);
    await sleepMs(ms, either).catch(() => {}); // woken up early
  }

  async #inTurn<T>(work: () => Promise<T>): Promise<T> {
    const mine = this.#turn.then(work);
    this.#turn = mine.catch(() => {});
    return mine;
  }
}
