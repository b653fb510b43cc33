// make bench: what vmlet costs beside the same work by hand, in one run and in turns. Prints a table and writes
// bench/results/latest.json. VMLET_BENCH_QUICK=1: few runs of each. An argument names one part: life, lists, logs, pulls, router or
// streams.

import { REPO_PATH } from "../test/node/layout.ts";
import { startTestNode } from "../test/node/test-node.ts";
import type { Bench } from "./bench.ts";
import { lifeRows } from "./rows/life.ts";
import { listRows } from "./rows/lists.ts";
import { logRows } from "./rows/logs.ts";
import { pullsRows } from "./rows/pulls.ts";
import { routerRows } from "./rows/router.ts";
import { streamRows } from "./rows/streams.ts";
import { printTable, type Row, writeResults } from "./table.ts";

const PARTS = {
  pulls: pullsRows,
  lists: listRows,
  logs: logRows,
  life: lifeRows,
  streams: streamRows,
  router: routerRows,
} as const;

const signal = AbortSignal.timeout(1_800_000);
const startedMs = performance.now();
const say = (text: string): void =>
  console.log(`bench: ${Math.round((performance.now() - startedMs) / 1000)} s: ${text}`);
const only = process.argv[2];
if (only !== undefined && !(only in PARTS)) throw new Error(`no part ${only}: ${Object.keys(PARTS).join(", ")}`);

say("a node of its own comes up");
const rows: Row[] = [];
try {
  await using node = await startTestNode({}, signal);
  const bench: Bench = { node, isQuick: process.env["VMLET_BENCH_QUICK"] === "1", say };
  for (const [name, rowsOf] of Object.entries(PARTS))
    if (only === undefined || only === name) rows.push(...(await rowsOf(bench, signal)));
  say("the node goes");
} finally {
  console.log();
  printTable(rows); // also what was measured before a failure
}
console.log(`\nbench: ${await writeResults(REPO_PATH, rows, signal)}`);
