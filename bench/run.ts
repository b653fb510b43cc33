// make bench: what vmlet costs beside the same work by hand, in one run and in turns. Prints a table and writes
// bench/results/latest.json. VMLET_BENCH_QUICK=1: few runs of each. An argument names one part: calls, life, logs, memory,
// pulls, router, starts or streams; `scale` is calls, starts and memory. `calls 100 200`: of so many pods only.

import { REPO_PATH } from "../test/node/layout.ts";
import { startTestNode } from "../test/node/test-node.ts";
import type { Bench } from "./bench.ts";
import { callRows } from "./rows/calls.ts";
import { lifeRows } from "./rows/life.ts";
import { logRows } from "./rows/logs.ts";
import { memoryRows } from "./rows/memory.ts";
import { pullsRows } from "./rows/pulls.ts";
import { routerRows } from "./rows/router.ts";
import { startRows } from "./rows/starts.ts";
import { streamRows } from "./rows/streams.ts";
import { printTable, type Row, writeResults } from "./table.ts";

const PARTS = {
  pulls: pullsRows,
  calls: callRows,
  starts: startRows,
  memory: memoryRows,
  logs: logRows,
  life: lifeRows,
  streams: streamRows,
  router: routerRows,
} as const;
/** What is at one time on a node, and how many. */
const SCALE = ["calls", "starts", "memory"];

const signal = AbortSignal.timeout(5_400_000);
const startedMs = performance.now();
const say = (text: string): void =>
  console.log(`bench: ${Math.round((performance.now() - startedMs) / 1000)} s: ${text}`);
const [only, ...counts] = process.argv.slice(2);
const isWanted = (name: string): boolean =>
  only === undefined || only === name || (only === "scale" && SCALE.includes(name));
const parts = Object.entries(PARTS).filter(([name]) => isWanted(name));
if (parts.length === 0) throw new Error(`no part ${only}: scale, ${Object.keys(PARTS).join(", ")}`);

say("a node of its own comes up");
const rows: Row[] = [];
try {
  await using node = await startTestNode({}, signal);
  const isQuick = process.env["VMLET_BENCH_QUICK"] === "1";
  const bench: Bench = { node, isQuick, say, ...(counts.length > 0 && { podCounts: counts.map(Number) }) };
  for (const [, rowsOf] of parts) rows.push(...(await rowsOf(bench, signal)));
  say("the node goes");
} finally {
  console.log();
  printTable(rows); // also what was measured before a failure
}
console.log(`\nbench: ${await writeResults(REPO_PATH, rows, signal)}`);
