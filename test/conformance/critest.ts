// Runs critest against a node, and reads what became of each spec.

import { spawn } from "node:child_process";
import { once } from "node:events";
import { createWriteStream } from "node:fs";
import { mkdir, readFile, rm, symlink } from "node:fs/promises";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { z } from "zod";
import { REPO_PATH } from "../node/layout.ts";

export const CRITEST_PATH = join(REPO_PATH, ".cache/bin/critest");
const GINKGO_PATH = join(REPO_PATH, ".cache/bin/ginkgo");

export interface CritestOptions {
  readonly socketPath: string;
  /** Regular expressions on whole names. */
  readonly focus?: readonly string[];
  readonly skip?: readonly string[];
  /** critest's own flags. */
  readonly flags?: readonly string[];
  /** Specs at a time; those that say so run alone. */
  readonly processes: number;
  /** For the report, and for what critest itself leaves behind. */
  readonly workPath: string;
  /** Gets everything that critest says. */
  readonly logPath: string;
  /** Told of each spec as it ends. */
  readonly onSpec?: (line: string) => void;
}

export interface SpecResult {
  readonly name: string;
  readonly outcome: "passed" | "failed" | "skipped";
  readonly seconds: number;
  /** Why it failed, or why it skipped itself. */
  readonly message: string;
}

const reportSchema = z.array(
  z.object({
    SpecReports: z.array(
      z.object({
        ContainerHierarchyTexts: z.array(z.string()).nullish(),
        LeafNodeType: z.string(),
        LeafNodeText: z.string(),
        State: z.string(),
        RunTime: z.number(),
        Failure: z.object({ Message: z.string().optional() }).optional(),
      }),
    ),
  }),
);

/** Names of all specs but the benchmarks. */
export async function listSpecs(workPath: string, signal: AbortSignal): Promise<readonly string[]> {
  const options = { socketPath: "/nowhere", processes: 1, workPath, logPath: join(workPath, "log"), isDryRun: true };
  const results = await runCritest(options, signal);
  return results.filter(({ outcome }) => outcome === "passed").map(({ name }) => name);
}

/** Rejects when critest ends without a report. */
export async function runCritest(
  options: CritestOptions & { readonly isDryRun?: boolean },
  signal: AbortSignal,
): Promise<readonly SpecResult[]> {
  const { socketPath, focus = [], skip = [], flags = [], processes, workPath, isDryRun = false } = options;
  await mkdir(workPath, { recursive: true });
  const reportPath = join(workPath, "report.json");
  const binaryPath = join(workPath, "critest.test"); // ginkgo knows a compiled suite by this ending
  for (const path of [reportPath, binaryPath]) await rm(path, { force: true });
  await symlink(CRITEST_PATH, binaryPath);
  const endpoint = `unix://${socketPath}`;
  const argv = [
    "--no-color",
    "-v",
    "--json-report=report.json",
    `--output-dir=${workPath}`,
    ...(isDryRun ? ["--dry-run"] : ["--randomize-all", `--procs=${processes}`]),
    ...focus.map((pattern) => `--focus=${pattern}`),
    ...["benchmark", ...skip].map((pattern) => `--skip=${pattern}`),
    binaryPath,
    "--",
    `-runtime-endpoint=${endpoint}`,
    `-image-endpoint=${endpoint}`,
    "-config=/dev/null",
    ...flags,
  ];
  await toEnd(argv, options, signal);
  const reports = reportSchema.parse(JSON.parse(await readFile(reportPath, "utf8")));
  return reports.flatMap((report) => report.SpecReports.filter((spec) => spec.LeafNodeType === "It").map(resultOf));
}

function resultOf(spec: z.output<typeof reportSchema>[number]["SpecReports"][number]): SpecResult {
  const outcome = spec.State === "passed" || spec.State === "skipped" ? spec.State : "failed";
  const name = [...(spec.ContainerHierarchyTexts ?? []), spec.LeafNodeText].join(" ");
  return { name, outcome, seconds: spec.RunTime / 1e9, message: spec.Failure?.Message ?? "" };
}

/** Its exit status only says whether a spec failed: the report says which. */
async function toEnd(argv: readonly string[], options: CritestOptions, signal: AbortSignal): Promise<void> {
  const { workPath, logPath, onSpec } = options;
  const env = { ...process.env, TMPDIR: workPath }; // critest leaves folders behind
  const stdio = ["ignore", "pipe", "inherit"] as const;
  const child = spawn(GINKGO_PATH, argv, { stdio: [...stdio], env, signal, killSignal: "SIGTERM" });
  const ended = once(child, "close");
  const log = createWriteStream(logPath, { flags: "a" });
  let verdict = "";
  for await (const line of createInterface({ input: child.stdout })) {
    if (!log.write(`${line}\n`)) await once(log, "drain");
    if (verdict !== "" && line !== "") onSpec?.(`${verdict} ${line.replace("[It] ", "")}`);
    verdict = /^(?:•|S) \[/.test(line) ? line.replace("seconds", "s") : "";
  }
  await ended;
  log.end();
  await once(log, "close");
}
