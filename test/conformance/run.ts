// make conformance: critest against a node of its own. Every spec that skips.txt does not name must pass, those of the
// streams by SPDY and by WebSocket. The last line counts. An argument is a regular expression: only specs that it fits.
// ROUTER=1: through the router, for machines, and for containers whatever containerd passes without it.

import { existsSync } from "node:fs";
import { mkdir, rm } from "node:fs/promises";
import { join } from "node:path";
import { startContainerd } from "../node/containerd.ts";
import { REPO_PATH } from "../node/layout.ts";
import { startRouterProcess } from "../node/router.ts";
import { CRITEST_PATH, runCritest } from "./critest.ts";
import { startConformanceNode } from "./node.ts";
import { type Critest, runContainers, runMachines } from "./plans.ts";
import { report, type SpecRun } from "./report.ts";
import { watchSharedMemory } from "./shared-memory.ts";
import { readSkips, type Skip } from "./skips.ts";

const LIMIT_MS = 60 * 60_000;
/** Booting keeps a core busy, waiting does not. */
const PROCESSES = Number(process.env["PROCESSES"] ?? 2);
const LOG_PATH = join(REPO_PATH, ".cache/reports/critest.log");

if (!existsSync(CRITEST_PATH)) {
  console.log("conformance: SKIPPED: critest is not built (`tools/setup critest` says why)");
  process.exit(0);
}
const skips = await readSkips();
process.exitCode = report(await runAll(skips, process.argv[2], AbortSignal.timeout(LIMIT_MS)), skips) ? 0 : 1;

async function runAll(named: readonly Skip[], only: string | undefined, signal: AbortSignal): Promise<SpecRun[]> {
  await mkdir(join(REPO_PATH, ".cache/reports"), { recursive: true });
  await rm(LOG_PATH, { force: true });
  await using _shared = await watchSharedMemory();
  await using node = await startConformanceNode(signal);
  console.log(`conformance: everything that critest says is in ${LOG_PATH}`);
  const critest: Critest = async (options) =>
    await runCritest(
      {
        ...options,
        ...(only === undefined ? {} : { focus: [only] }),
        processes: PROCESSES,
        workPath: join(node.folderPath, "work"),
        logPath: LOG_PATH,
        onSpec: (line) => console.log(line),
      },
      signal,
    );
  const machines = {
    flags: [`-test-images-file=${node.imagesPath}`],
    skips: named,
    hasStreams: only === undefined || /stream|exec|attach|forward/i.test(only),
  };
  if (process.env["ROUTER"] !== "1")
    return await runMachines(critest, { ...machines, title: "critest", socketPath: node.layout.socketPath });

  await using containerd = await startContainerd(node.layout, signal);
  const { socketPath: containersSocketPath } = containerd;
  await using router = await startRouterProcess(
    node.layout,
    { containersSocketPath, imagePrefixes: node.imagePrefixes },
    signal,
  );
  const through = { ...machines, flags: [...machines.flags, "-runtime-handler=vmlet"], socketPath: router.socketPath };
  return [
    ...(await runMachines(critest, { ...through, title: "critest, machines by the router" })),
    await runContainers(critest, { containersSocketPath, routerSocketPath: router.socketPath }, node.folderPath),
  ];
}
