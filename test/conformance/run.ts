// make conformance: critest against a node of its own. Every spec that skips.txt does not name must pass, those of the
// streams by SPDY and by WebSocket. The last line counts. An argument is a regular expression: only specs that it fits.

import { existsSync } from "node:fs";
import { mkdir, rm } from "node:fs/promises";
import { join } from "node:path";
import { REPO_PATH } from "../node/layout.ts";
import { CRITEST_PATH, runCritest, type SpecResult } from "./critest.ts";
import { startConformanceNode } from "./node.ts";
import { watchSharedMemory } from "./shared-memory.ts";
import { readSkips, type Skip, skipPattern } from "./skips.ts";

const LIMIT_MS = 30 * 60_000;
/** Booting keeps a core busy, waiting does not. */
const PROCESSES = Number(process.env["PROCESSES"] ?? 2);
const WEBSOCKET = ["exec", "attach", "portforward"].map((what) => `-websocket-${what}=true`);
const LOG_PATH = join(REPO_PATH, ".cache/reports/critest.log");

interface Run {
  readonly title: string;
  readonly results: readonly SpecResult[];
}

if (!existsSync(CRITEST_PATH)) {
  console.log("conformance: SKIPPED: critest is not built (`tools/setup critest` says why)");
  process.exit(0);
}
const skips = await readSkips();
process.exitCode = report(await runAll(process.argv[2], AbortSignal.timeout(LIMIT_MS)), skips) ? 0 : 1;

async function runAll(only: string | undefined, signal: AbortSignal): Promise<readonly Run[]> {
  await mkdir(join(REPO_PATH, ".cache/reports"), { recursive: true });
  await rm(LOG_PATH, { force: true });
  await using _shared = await watchSharedMemory();
  await using node = await startConformanceNode(signal);
  console.log(`conformance: everything that critest says is in ${LOG_PATH}`);
  const run = async (title: string, focus: string | undefined, flags: readonly string[]): Promise<Run> => {
    const results = await runCritest(
      {
        socketPath: node.socketPath,
        ...(focus === undefined ? {} : { focus: [focus] }),
        skip: skips.map(skipPattern),
        flags: [`-test-images-file=${node.imagesPath}`, ...flags],
        processes: PROCESSES,
        workPath: join(node.folderPath, "work"),
        logPath: LOG_PATH,
        onSpec: (line) => console.log(line),
      },
      signal,
    );
    return { title, results };
  };
  const all = await run("critest", only, []);
  if (only !== undefined && !/stream|exec|attach|forward/i.test(only)) return [all];
  return [all, await run("critest, streams by WebSocket", "Streaming", WEBSOCKET)];
}

/** Prints what is to be known. True when nothing failed, something passed, and nothing skipped itself unnamed. */
function report(runs: readonly Run[], named: readonly Skip[]): boolean {
  const isNamed = ({ name }: SpecResult): boolean => named.some(({ spec }) => spec === name);
  const results = runs.flatMap(({ title, results: own }) => own.map((result) => ({ ...result, title })));
  const passed = results.filter(({ outcome }) => outcome === "passed");
  const failed = results.filter(({ outcome }) => outcome === "failed");
  const unnamed = results.filter((result) => result.outcome === "skipped" && result.message !== "" && !isNamed(result));
  for (const { title, name, seconds, message } of failed) {
    console.log(`FAILED (${title}, ${seconds.toFixed(1)} s) ${name}\n    ${message}`);
  }
  for (const { name, message } of unnamed) console.log(`FAILED (skipped itself: ${message}) ${name}`);
  for (const { spec, reason } of named) console.log(`SKIPPED ${spec}: ${reason}`);
  const counts = [passed.length, failed.length + unnamed.length, named.length];
  console.log(`conformance: ${counts[0]} passed, ${counts[1]} failed, ${counts[2]} skipped`);
  return counts[1] === 0 && passed.length > 0;
}
