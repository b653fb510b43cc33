// make conformance: critest against a node of its own. Every spec that skips.txt does not name must pass; the last line
// counts. An argument is a regular expression: only specs whose name it fits.

import { existsSync } from "node:fs";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { stringify } from "yaml";
import { REPO_PATH } from "../node/layout.ts";
import { startTestNode } from "../node/test-node.ts";
import { CRITEST_PATH, runCritest, type SpecResult } from "./critest.ts";
import { MIRRORED, serveStandIns, writeMirrors } from "./images.ts";
import { readSkips, skipPattern } from "./skips.ts";

const LIMIT_MS = 30 * 60_000;
/** Booting keeps a core busy, waiting does not. */
const PROCESSES = Number(process.env["PROCESSES"] ?? 2);
const WEBSOCKET = ["exec", "attach", "portforward"].map((what) => `-websocket-${what}=true`);

if (!existsSync(CRITEST_PATH)) {
  console.log("conformance: SKIPPED: critest is not built (make setup says why)");
  process.exit(0);
}
const signal = AbortSignal.timeout(LIMIT_MS);
const [only] = process.argv.slice(2);
const results = await conformance(only);
process.exitCode = report(results) ? 0 : 1;

interface Run {
  readonly title: string;
  readonly results: readonly SpecResult[];
}

async function conformance(focus: string | undefined): Promise<readonly Run[]> {
  await using parts = new AsyncDisposableStack();
  const folder = await mkdtemp(join(tmpdir(), "vmlet-conformance-"));
  parts.defer(async () => rm(folder, { recursive: true, force: true }));
  const registry = parts.use(await serveStandIns(join(REPO_PATH, ".cache/guests/tiny.qcow2")));
  const hostsFolderPath = join(folder, "certs.d");
  await registry.writeHosts(hostsFolderPath);
  await writeMirrors(hostsFolderPath, registry);
  const prefixes = MIRRORED.map((host) => `${host}/`);
  const config = {
    images: { allowHttp: true, registry: { hostsFolderPath, prefixes, authPath: join(folder, "none.json") } },
    machine: { defaultMemoryBytes: "128Mi" },
  };
  const node = parts.use(await startTestNode({ config }, signal));

  const imagesPath = join(folder, "images.yaml");
  const guest = registry.nameOf("e2e-test-images/busybox:1.29-2");
  await writeFile(imagesPath, stringify({ defaultTestContainerImage: guest }));
  const skip = (await readSkips()).map(skipPattern);
  const common = { socketPath: node.layout.socketPath, skip, processes: PROCESSES };
  const flags = [`-test-images-file=${imagesPath}`];
  const runs: Run[] = [];
  const add = async (title: string, focused: string | undefined, own: readonly string[]): Promise<void> => {
    const workPath = join(folder, `run-${runs.length}`);
    const wanted = focused === undefined ? {} : { focus: [focused] };
    runs.push({
      title,
      results: await runCritest({ ...common, ...wanted, workPath, flags: [...flags, ...own] }, signal),
    });
  };
  await add("critest", focus, []);
  if (focus === undefined) await add("critest, streams by WebSocket", "Streaming", WEBSOCKET);
  return runs;
}

/** Prints what is to be known. True when nothing failed and something passed. */
function report(runs: readonly Run[]): boolean {
  for (const { title, results } of runs) {
    for (const { name, outcome, seconds, message } of results) {
      if (outcome === "failed") console.log(`FAILED (${title}, ${seconds.toFixed(1)} s) ${name}\n    ${message}`);
    }
  }
  const all = runs.flatMap((run) => run.results);
  const count = (outcome: string): number => all.filter((result) => result.outcome === outcome).length;
  console.log(`conformance: ${count("passed")} passed, ${count("failed")} failed, ${count("skipped")} skipped`);
  return count("failed") === 0 && count("passed") > 0;
}
