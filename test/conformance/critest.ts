// Runs critest against a node, and reads what became of each spec.

import { spawn } from "node:child_process";
import { mkdir, readFile, rm, symlink } from "node:fs/promises";
import { join } from "node:path";
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
  /** For the report and the log. */
  readonly workPath: string;
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
  const options = { socketPath: "/nowhere", processes: 1, workPath, flags: [] };
  const results = await runCritest({ ...options, dryRun: true }, signal);
  return results.filter(({ outcome }) => outcome === "passed").map(({ name }) => name);
}

/** Output goes to ours. Rejects when critest ends without a report. */
export async function runCritest(
  options: CritestOptions & { readonly dryRun?: boolean },
  signal: AbortSignal,
): Promise<readonly SpecResult[]> {
  const { socketPath, focus = [], skip = [], flags = [], processes, workPath, dryRun = false } = options;
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
    ...(dryRun ? ["--dry-run"] : ["--randomize-all", `--procs=${processes}`]),
    ...focus.map((pattern) => `--focus=${pattern}`),
    ...["benchmark", ...skip].map((pattern) => `--skip=${pattern}`),
    binaryPath,
    "--",
    `-runtime-endpoint=${endpoint}`,
    `-image-endpoint=${endpoint}`,
    "-config=/dev/null",
    ...flags,
  ];
  await toEnd(GINKGO_PATH, argv, { quiet: dryRun }, signal);
  const reports = reportSchema.parse(JSON.parse(await readFile(reportPath, "utf8")));
  return reports.flatMap((report) => report.SpecReports.filter((spec) => spec.LeafNodeType === "It").map(resultOf));
}

function resultOf(spec: z.output<typeof reportSchema>[number]["SpecReports"][number]): SpecResult {
  const outcome = spec.State === "passed" || spec.State === "skipped" ? spec.State : "failed";
  const name = [...(spec.ContainerHierarchyTexts ?? []), spec.LeafNodeText].join(" ");
  return { name, outcome, seconds: spec.RunTime / 1e9, message: spec.Failure?.Message ?? "" };
}

/** Its exit status only says whether a spec failed: the report says which. */
async function toEnd(
  file: string,
  argv: readonly string[],
  { quiet }: { readonly quiet: boolean },
  signal: AbortSignal,
): Promise<void> {
  const output = quiet ? "ignore" : "inherit";
  const child = spawn(file, argv, { stdio: ["ignore", output, output], signal, killSignal: "SIGTERM" });
  const { promise, resolve, reject } = Promise.withResolvers<void>();
  child.once("error", reject).once("close", () => resolve());
  await promise;
}
