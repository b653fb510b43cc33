// Waits for a fact by asking again: tests have no other way to see what is outside of them.

import { setTimeout as after } from "node:timers/promises";

export interface PollOptions {
  /** For the message when the limit has passed. */
  readonly what: string;
  readonly limitMs: number;
  readonly everyMs?: number;
}

/** The first answer that is not undefined. An error of `ask` counts as not yet; the last one is the cause at the limit. */
export async function poll<T>(
  ask: () => Promise<T | undefined> | T | undefined,
  { what, limitMs, everyMs = 100 }: PollOptions,
  signal: AbortSignal,
): Promise<T> {
  const deadline = performance.now() + limitMs;
  let last: unknown;
  for (;;) {
    signal.throwIfAborted();
    try {
      const answer = await ask();
      if (answer !== undefined) return answer;
    } catch (error) {
      last = error;
    }
    if (performance.now() > deadline) {
      const why = last instanceof Error ? `: ${last.message}` : "";
      throw new Error(`${what}: not within ${limitMs} ms${why}`, { cause: last });
    }
    await after(everyMs, undefined, { signal });
  }
}
