// How far a pull is, told often enough for people and seldom enough for logs.

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

const INTERVAL_MS = 1000;

/** @returns to be called with the bytes received so far, and once more with the last figure at the end. */
export function progressMeter(
  about: { readonly image: string; readonly totalBytes?: number },
  clock: Clock,
  tell: (progress: PullProgress) => void,
): { readonly received: (receivedBytes: number) => void; readonly done: (receivedBytes: number) => void } {
  const startedAtMs = clock.nowMs();
  let toldAtMs = startedAtMs;
  const say = (receivedBytes: number, isDone: boolean): void => {
    tell({ ...about, receivedBytes, tookMs: clock.nowMs() - startedAtMs, isDone });
  };
  return {
    received: (receivedBytes) => {
      if (clock.nowMs() - toldAtMs < INTERVAL_MS) return;
      toldAtMs = clock.nowMs();
      say(receivedBytes, false);
    },
    done: (receivedBytes) => say(receivedBytes, true),
  };
}
