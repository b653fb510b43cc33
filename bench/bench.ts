// What every row of the benchmark has: a node, how often to run, and a clock.

import type { TestNode } from "../test/node/test-node.ts";

export interface Bench {
  readonly node: TestNode;
  /** Few runs, for a look whether everything works: VMLET_BENCH_QUICK=1. */
  readonly isQuick: boolean;
  /** How many pods there are, one count after the other, where that was said. */
  readonly podCounts?: readonly number[];
  readonly say: (text: string) => void;
}

/** Runs it and notes what it took. */
export async function timed<T>(tookMs: number[], work: () => Promise<T>): Promise<T> {
  const startedMs = performance.now();
  const result = await work();
  tookMs.push(performance.now() - startedMs);
  return result;
}
