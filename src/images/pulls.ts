// Pulls under way: one does the work, many may wait for it, and everyone may see how far it is.

import { untilAborted } from "../lib/keyed-lock.ts";
import { VmletError } from "../model/failure.ts";
import { newPullId, type PullId } from "../model/ids.ts";
import type { Image } from "../model/image.ts";
import type { ImagePull, PullCaller } from "../model/image-pull.ts";
import type { Clock } from "../ports/clock.ts";
import type { Logger } from "../ports/logger.ts";
import { PullMeter, type PullProgress } from "./progress.ts";

interface Entry {
  readonly pullId: PullId;
  readonly image: string;
  readonly meter: PullMeter;
  readonly controller: AbortController;
  readonly waiters: string[];
  readonly promise: Promise<Image>;
}

/** Hears of what a person wants to count. Must not throw. */
export interface PullObserver {
  /** Bytes that came over the wire just now. */
  bytesReceived(bytes: number): void;
  /** `pulled`, `present` (nothing had to be downloaded), `abandoned` (nobody waited any more), or the failure's code. */
  pullEnded(outcome: string): void;
}

export interface PullsParts {
  readonly clock: Clock;
  readonly log: Logger;
  readonly onProgress?: (progress: PullProgress) => void;
  readonly observer?: PullObserver;
}

export class Pulls {
  readonly #parts: PullsParts;
  /** What can be joined. */
  readonly #joinable = new Map<string, Entry>();
  /** What has not ended, the oldest first. */
  readonly #underWay = new Map<PullId, Entry>();

  constructor(parts: PullsParts) {
    this.#parts = parts;
  }

  /**
   * Joins the pull under `key`, or begins it. Abort ends this caller's waiting; the last one to leave aborts the work
   * and waits for its end, so that nothing half-made is left behind.
   */
  async run(
    { key, image }: { readonly key: string; readonly image: string },
    work: (meter: PullMeter, signal: AbortSignal) => Promise<Image>,
    { name, onJoined }: PullCaller,
    signal: AbortSignal,
  ): Promise<Image> {
    signal.throwIfAborted();
    const entry = this.#joinable.get(key) ?? this.#begin(key, image, work);
    entry.waiters.push(name);
    try {
      onJoined?.(entry.pullId);
      return await untilAborted(entry.promise, signal);
    } finally {
      entry.waiters.splice(entry.waiters.indexOf(name), 1);
      if (entry.waiters.length === 0) await this.#end(key, entry, signal.reason);
    }
  }

  list(): readonly ImagePull[] {
    return [...this.#underWay.values()].map(({ pullId, image, meter, waiters }) => ({
      pullId,
      image,
      ...meter.look(),
      waiters: [...waiters],
    }));
  }

  /** As ImageStore.untilPulled. */
  async until(pullId: string, signal: AbortSignal): Promise<Image> {
    const entry = this.#underWay.get(pullId as PullId);
    if (entry !== undefined) return await untilAborted(entry.promise, signal);
    throw new VmletError({ code: "PULL_NOT_FOUND", pullId }, `pull ${pullId} is not under way; it may have ended`);
  }

  /** Aborts all work and waits for its end. */
  async abortAll(reason: Error): Promise<void> {
    await Promise.all([...this.#joinable].map(async ([key, entry]) => this.#end(key, entry, reason)));
  }

  #begin(key: string, image: string, work: (meter: PullMeter, signal: AbortSignal) => Promise<Image>): Entry {
    const pullId = newPullId();
    const meter = this.#meterOf(image);
    const controller = new AbortController();
    const promise = work(meter, controller.signal).finally(() => this.#underWay.delete(pullId));
    const entry: Entry = { pullId, image, meter, controller, waiters: [], promise };
    promise.then(
      () => this.#parts.observer?.pullEnded(meter.hasReceived ? "pulled" : "present"),
      (error: unknown) => this.#parts.observer?.pullEnded(outcomeOf(error, controller.signal)),
    );
    this.#joinable.set(key, entry);
    this.#underWay.set(pullId, entry);
    return entry;
  }

  #meterOf(image: string): PullMeter {
    const { clock, log, onProgress, observer } = this.#parts;
    return new PullMeter(image, {
      clock,
      tell: (progress) => {
        log.debug("image download", { ...progress });
        onProgress?.(progress);
      },
      onFresh: (bytes) => observer?.bytesReceived(bytes),
    });
  }

  /** Aborting work that has ended changes nothing. */
  async #end(key: string, entry: Entry, reason: unknown): Promise<void> {
    if (this.#joinable.get(key) === entry) this.#joinable.delete(key);
    entry.controller.abort(reason);
    await entry.promise.catch(() => {});
  }
}

function outcomeOf(error: unknown, signal: AbortSignal): string {
  if (signal.aborted) return "abandoned";
  return error instanceof VmletError ? error.failure.code : "UNFORESEEN";
}
