// Waiting: a pause that can be aborted, and growing pauses between tries.

import { setTimeout as pause } from "node:timers/promises";

export interface BackoffOptions {
  readonly firstMs: number;
  readonly maxMs: number;
  /** Share of each pause that is random, 0 to 1, so that many waiters do not march in step. */
  readonly jitter?: number;
}

/** Endless pauses: first, doubled, … up to the maximum. */
export function* backoff({ firstMs, maxMs, jitter = 0.2 }: BackoffOptions): Generator<number, never> {
  for (let ms = firstMs; ; ms = Math.min(maxMs, ms * 2)) yield ms * (1 - jitter * Math.random());
}

/** Sleeps; rejects with the signal's reason when aborted. */
export async function sleepMs(ms: number, signal: AbortSignal): Promise<void> {
  signal.throwIfAborted();
  try {
    await pause(ms, undefined, { signal });
  } catch (error) {
    signal.throwIfAborted();
    throw error;
  }
}

/** Asks again and again until `ask` gives something, with growing pauses, until the signal ends it. */
export async function poll<T>(
  ask: () => Promise<T | undefined>,
  options: BackoffOptions,
  signal: AbortSignal,
): Promise<T> {
  for (const pauseMs of backoff(options)) {
    const answer = await ask();
    if (answer !== undefined) return answer;
    await sleepMs(pauseMs, signal);
  }
  throw new Error("unreachable: backoff never ends");
}
