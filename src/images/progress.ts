// How far a pull is: exact for whoever looks, told seldom enough for logs.

import type { ImagePull } from "../model/image-pull.ts";
import type { Clock } from "../ports/clock.ts";

export interface PullProgress {
  /** `name:tag` or `name@digest`. */
  readonly image: string;
  readonly receivedBytes: number;
  /** Absent when the server does not say. */
  readonly totalBytes?: number;
  readonly tookMs: number;
  readonly isDone: boolean;
}

interface MeterParts {
  readonly clock: Clock;
  /** At most once a second while bytes come, and when all have come. */
  readonly tell: (progress: PullProgress) => void;
  /** Each time: bytes that were not here before. */
  readonly onFresh: (freshBytes: number) => void;
}

const TELL_EVERY_MS = 1_000;
const SAMPLE_EVERY_MS = 250;
/** The rate is that of these last milliseconds. */
const WINDOW_MS = 5_000;

/** Of one pull, from when it is wanted to its end. */
export class PullMeter {
  readonly #image: string;
  readonly #parts: MeterParts;
  readonly #startedAtMs: number;
  #phase: ImagePull["phase"] = "asking";
  #isCounted = false;
  #receivingSinceMs = 0;
  #receivedBytes = 0;
  #totalBytes: number | undefined;
  #toldAtMs = 0;
  /** The oldest first, at most as many as fit into the window. */
  #samples: { readonly atMs: number; readonly bytes: number }[] = [];

  constructor(image: string, parts: MeterParts) {
    this.#image = image;
    this.#parts = parts;
    this.#startedAtMs = parts.clock.nowMs();
  }

  /** Others go first. */
  waiting(): void {
    this.#phase = "waiting";
  }

  asking(): void {
    this.#phase = "asking";
  }

  /** For what comes over the network and is not what is received, but where that is found. */
  counted(bytes: number): void {
    this.#parts.onFresh(bytes);
  }

  /** The source has answered. Again where a download begins anew. @param how What is received is counted by `counted`. */
  receiving(
    fromBytes: number,
    totalBytes: number | undefined,
    { isCounted }: { readonly isCounted: boolean } = { isCounted: false },
  ): void {
    this.#isCounted = isCounted;
    const nowMs = this.#parts.clock.nowMs();
    this.#phase = "receiving";
    this.#receivedBytes = fromBytes;
    this.#totalBytes = totalBytes;
    this.#receivingSinceMs = nowMs;
    this.#toldAtMs = nowMs;
    this.#samples = [{ atMs: nowMs, bytes: fromBytes }];
  }

  received(receivedBytes: number): void {
    const nowMs = this.#parts.clock.nowMs();
    if (!this.#isCounted) this.#parts.onFresh(Math.max(0, receivedBytes - this.#receivedBytes));
    this.#receivedBytes = receivedBytes;
    if (nowMs - (this.#samples.at(-1)?.atMs ?? 0) >= SAMPLE_EVERY_MS) {
      this.#samples.push({ atMs: nowMs, bytes: receivedBytes });
      this.#dropOldSamples(nowMs);
    }
    if (nowMs - this.#toldAtMs < TELL_EVERY_MS) return;
    this.#toldAtMs = nowMs;
    this.#tell(false);
  }

  /** All bytes are here, and are looked at. */
  done(receivedBytes: number): void {
    this.received(receivedBytes);
    this.#phase = "checking";
    this.#tell(true);
  }

  get hasReceived(): boolean {
    return this.#phase === "receiving" || this.#phase === "checking";
  }

  look(): Omit<ImagePull, "pullId" | "image" | "waiters"> {
    return {
      phase: this.#phase,
      startedAtMs: this.#startedAtMs,
      receivedBytes: this.#receivedBytes,
      ...(this.#totalBytes === undefined ? {} : { totalBytes: this.#totalBytes }),
      bytesPerSecond: this.#phase === "receiving" ? this.#rate() : 0,
    };
  }

  #rate(): number {
    const nowMs = this.#parts.clock.nowMs();
    this.#dropOldSamples(nowMs);
    const [oldest] = this.#samples;
    if (oldest === undefined || nowMs <= oldest.atMs) return 0;
    return Math.round(((this.#receivedBytes - oldest.bytes) / (nowMs - oldest.atMs)) * 1000);
  }

  /** One stays, so that a download that stands still is seen to. */
  #dropOldSamples(nowMs: number): void {
    const firstKept = this.#samples.findIndex(({ atMs }) => nowMs - atMs <= WINDOW_MS);
    this.#samples.splice(0, firstKept === -1 ? this.#samples.length - 1 : firstKept);
  }

  #tell(isDone: boolean): void {
    this.#parts.tell({
      image: this.#image,
      receivedBytes: this.#receivedBytes,
      ...(this.#totalBytes === undefined ? {} : { totalBytes: this.#totalBytes }),
      tookMs: this.#parts.clock.nowMs() - this.#receivingSinceMs,
      isDone,
    });
  }
}
