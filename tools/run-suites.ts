// make test: runs every suite, says what each took beside its budget, names what was skipped, and adds up. The last line
// is `N passed, N failed, N skipped`; the exit status is 0 only if nothing failed and something passed.

import { spawn } from "node:child_process";
import { existsSync } from "node:fs";
import { mkdir, readFile, rm } from "node:fs/promises";
import { join, relative, resolve } from "node:path";

interface Suite {
  readonly name: string;
  readonly argv: readonly [string, ...string[]];
  /** What it should take on two cores; ten times as much is a failure. */
  readonly budgetSeconds: number;
  /** A vitest suite: its tests are counted one by one. Otherwise the whole command counts as one test. */
  readonly vitest?: true;
  /** Why it cannot run here. */
  readonly skip?: string | undefined;
}

interface Count {
  readonly passed: number;
  /** What failed once and passed when it was tried again, and the first line of why: a test, or the code, to be mended. */
  readonly secondTry: readonly string[];
  /** What failed, and the first line of why. */
  readonly failed: readonly string[];
  readonly skipped: readonly string[];
}

const REPO_PATH = resolve(import.meta.dirname, "..");
const REPORT_FOLDER_PATH = join(REPO_PATH, ".cache/reports");
const BIN_PATH = join(REPO_PATH, "node_modules/.bin");

const say = (text: string): void => void process.stdout.write(`${text}\n`);
const bin = (name: string): string => join(BIN_PATH, name);
const script = (path: string, ...args: string[]): [string, ...string[]] => [process.execPath, path, ...args];

function suites(): Suite[] {
  const vitest = (name: string, budgetSeconds: number): Suite => ({
    name,
    budgetSeconds,
    vitest: true,
    argv: [bin("vitest"), "run", "--project", name, "--reporter=default", "--reporter=json", "--retry=1"],
  });
  /** Why a suite that needs a Go program cannot run. */
  const without = (tool: string): string | undefined =>
    existsSync(join(REPO_PATH, ".cache/bin", tool)) ? undefined : `${tool} could not be built: see make setup`;
  return [
    { name: "format", argv: [bin("biome"), "check", "."], budgetSeconds: 10 },
    { name: "lint", argv: [bin("oxlint"), "--type-aware"], budgetSeconds: 20 },
    { name: "types", argv: [bin("tsc"), "-p", "."], budgetSeconds: 20 },
    { name: "dead code", argv: [bin("knip")], budgetSeconds: 20 },
    vitest("unit", 300),
    { name: "libvirtd up", argv: script("test/node/libvirtd.ts", "up"), budgetSeconds: 10 },
    vitest("integration", 1500),
    { name: "demo", argv: script("test/node/demo.ts"), budgetSeconds: 60 },
    {
      name: "crictl",
      argv: [join(REPO_PATH, ".cache/bin/crictl"), "--version"],
      budgetSeconds: 5,
      skip: without("crictl"),
    },
    { name: "chart", argv: script("test/chart/run.ts"), budgetSeconds: 60, skip: without("chartcheck") },
    { name: "libvirtd down", argv: script("test/node/libvirtd.ts", "down"), budgetSeconds: 10 },
  ];
}

async function runSuite(suite: Suite): Promise<Count> {
  if (suite.skip !== undefined)
    return { passed: 0, secondTry: [], failed: [], skipped: [`${suite.name}: ${suite.skip}`] };
  const reportPath = join(REPORT_FOLDER_PATH, `${suite.name}.json`);
  await rm(reportPath, { force: true });
  const argv = suite.vitest === true ? [...suite.argv, `--outputFile.json=${reportPath}`] : suite.argv;
  const exitCode = await runToEnd(argv, suite.budgetSeconds * 10_000);
  return suite.vitest === true ? await countOf(reportPath, exitCode) : oneOf(exitCode);
}

const oneOf = (exitCode: number): Count => ({
  passed: exitCode === 0 ? 1 : 0,
  secondTry: [],
  failed: exitCode === 0 ? [] : [`exit code ${exitCode}`],
  skipped: [],
});

async function runToEnd(argv: readonly string[], limitMs: number): Promise<number> {
  const [file = "", ...args] = argv;
  const child = spawn(file, args, {
    cwd: REPO_PATH,
    stdio: ["ignore", "inherit", "inherit"],
    detached: true, // a process group of its own, so that a kill reaches all of it
    env: { ...process.env, PATH: `${BIN_PATH}:${process.env["PATH"] ?? ""}` },
  });
  const timer = setTimeout(() => {
    say(`!! not ended after ${limitMs / 1000} s: killed`);
    if (child.pid !== undefined) process.kill(-child.pid, "SIGKILL");
  }, limitMs);
  const { promise, resolve: settle } = Promise.withResolvers<number>();
  child.once("error", (error) => {
    say(`!! ${file}: ${error.message}`);
    settle(127);
  });
  child.once("close", (code) => settle(code ?? 137));
  const exitCode = await promise;
  clearTimeout(timer);
  return exitCode;
}

interface Report {
  readonly testResults: readonly {
    readonly name: string;
    readonly status: string;
    readonly message: string;
    readonly assertionResults: readonly TestResult[];
  }[];
}

interface TestResult {
  readonly fullName: string;
  readonly status: string;
  readonly failureMessages: readonly string[];
}

const firstLine = (text: string | undefined): string => text?.trimStart().split("\n", 1)[0] ?? "";

async function countOf(reportPath: string, exitCode: number): Promise<Count> {
  let report: Report;
  try {
    report = JSON.parse(await readFile(reportPath, "utf8")) as Report;
  } catch {
    return { passed: 0, secondTry: [], failed: [`it died before it could tell, exit code ${exitCode}`], skipped: [] };
  }
  const tests = report.testResults.flatMap((file) => file.assertionResults);
  const having = (...statuses: string[]): TestResult[] => tests.filter(({ status }) => statuses.includes(status));
  const why = (test: TestResult): string => `${test.fullName.trim()}: ${firstLine(test.failureMessages[0])}`;
  const passed = having("passed");
  const failed = having("failed").map(why);
  // A file that cannot be loaded or set up fails without any test of it; an error outside of any test fails the run alone.
  for (const file of report.testResults) {
    if (file.status === "failed" && !file.assertionResults.some(({ status }) => status === "failed"))
      failed.push(`${relative(REPO_PATH, file.name)}: ${firstLine(file.message)}`);
  }
  if (failed.length === 0 && exitCode !== 0)
    failed.push(`an error outside of any test, exit code ${exitCode}: see above`);
  return {
    passed: passed.length,
    secondTry: passed.filter((test) => test.failureMessages.length > 0).map(why), // the reporter keeps the first try's error
    failed,
    skipped: having("pending", "skipped", "todo", "disabled").map(({ fullName }) => fullName.trim()),
  };
}

await mkdir(REPORT_FOLDER_PATH, { recursive: true });
const only = process.argv.slice(2);
const total = { passed: 0, failed: 0, skipped: 0 };
const summary: string[] = [];
for (const suite of suites().filter(({ name }) => only.length === 0 || only.includes(name))) {
  say(`\n=== ${suite.name} (budget ${suite.budgetSeconds} s)`);
  const startedMs = performance.now();
  const count = await runSuite(suite);
  const tookSeconds = Math.round((performance.now() - startedMs) / 1000);
  const over = tookSeconds > suite.budgetSeconds ? ", OVER BUDGET" : "";
  const counts = `${count.passed} passed, ${count.failed.length} failed, ${count.skipped.length} skipped`;
  summary.push(`${suite.name.padEnd(14)} ${counts}; ${tookSeconds} s of ${suite.budgetSeconds} s${over}`);
  for (const failure of count.secondTry) summary.push(`${" ".repeat(15)}SECOND TRY ${failure}`);
  for (const failure of count.failed) summary.push(`${" ".repeat(15)}FAILED ${failure}`);
  for (const reason of count.skipped) summary.push(`${" ".repeat(15)}SKIPPED ${reason}`);
  total.passed += count.passed;
  total.failed += count.failed.length;
  total.skipped += count.skipped.length;
}
say(`\n=== summary\n${summary.join("\n")}\n`);
say(`${total.passed} passed, ${total.failed} failed, ${total.skipped} skipped`);
process.exitCode = total.failed === 0 && total.passed > 0 ? 0 : 1;
