// make chart: Helm's own lint, every combination of values that changes what is rendered, each object decoded strictly into
// the Kubernetes API's Go types, and goldens. UPDATE=1 writes the goldens anew.

import { spawn } from "node:child_process";
import { existsSync } from "node:fs";
import { mkdir, readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { json } from "node:stream/consumers";
import { parse } from "yaml";
import { parseConfig } from "../../src/config/load.ts";
import { REPO_PATH } from "../node/layout.ts";
import { combinations, GOLDENS, REFUSED } from "./values.ts";

const CHECKER_PATH = join(REPO_PATH, ".cache/bin/chartcheck");
const GOLDEN_FOLDER_PATH = join(import.meta.dirname, "golden");

interface Case {
  readonly name: string;
  readonly values: unknown;
  readonly show: boolean;
}

interface Answer {
  readonly lint: readonly string[];
  readonly cases: readonly Found[];
}

interface Found {
  readonly name: string;
  readonly error?: string;
  readonly manifests?: Readonly<Record<string, string>>;
}

const say = (text: string): void => void process.stdout.write(`${text}\n`);
const problems: string[] = [];

if (!existsSync(CHECKER_PATH)) {
  say("chart: SKIPPED: chartcheck could not be built from test/tools (is Go installed?)");
  process.exit(0);
}
const all = combinations();
const answer = await ask([
  ...all.map((values, index) => ({ name: `combination ${index}`, values, show: false })),
  ...Object.entries(GOLDENS).map(([name, values]) => ({ name, values, show: true })),
  ...REFUSED.map(({ values }, index) => ({ name: `refused ${index}`, values, show: false })),
]);
const goldens = answer.cases.slice(all.length, all.length + Object.keys(GOLDENS).length);
problems.push(...answer.lint.map((line) => `lint: ${line}`));
for (const { name, error } of answer.cases.slice(0, all.length + goldens.length))
  if (error !== undefined) problems.push(`${name}: ${error}`);
for (const [index, { values, saying }] of REFUSED.entries()) {
  const { error } = answer.cases[all.length + goldens.length + index] ?? {};
  if (error === undefined || !saying.test(error))
    problems.push(`${JSON.stringify(values)} is ${error === undefined ? "taken" : `refused with: ${error}`}`);
}
for (const found of goldens) await checkGolden(found);

say(`chart: lint; ${all.length} combinations; ${goldens.length} goldens; ${REFUSED.length} refused values`);
for (const problem of problems.slice(0, 20)) say(`chart: ${problem}`);
if (problems.length > 0) say(`chart: ${problems.length} problems`);
process.exitCode = problems.length === 0 ? 0 : 1;

async function ask(cases: readonly Case[]): Promise<Answer> {
  const child = spawn(CHECKER_PATH, { stdio: ["pipe", "pipe", "pipe"] });
  const says: Buffer[] = []; // Helm tells of the link to domain-templates, again and again
  child.stderr.on("data", (bytes: Buffer) => says.push(bytes));
  child.stdin.end(JSON.stringify({ chart: join(REPO_PATH, "charts/vmlet"), cases }));
  try {
    return (await json(child.stdout)) as Answer;
  } catch (error) {
    throw new Error(`chartcheck: ${Buffer.concat(says).toString("utf8").slice(-2000)}`, { cause: error });
  }
}

async function checkGolden({ name, manifests = {} }: Found): Promise<void> {
  checkConfig(name, manifests);
  const template = await readFile(join(REPO_PATH, "domain-templates/linux.xml"), "utf8");
  const files = Object.entries(manifests)
    .toSorted(([a], [b]) => (a < b ? -1 : 1))
    .filter(([, text]) => text.trim() !== "")
    .map(([path, text]) => `# ${path}\n${text.trim()}\n`);
  const text = files
    .join("\n")
    .replace(/config-hash: [0-9a-f]{64}/, "config-hash: (a hash)")
    .replace(indented(template), "    (domain-templates/linux.xml)\n");
  const path = join(GOLDEN_FOLDER_PATH, `${name}.yaml`);
  if (process.env["UPDATE"] === "1") {
    await mkdir(GOLDEN_FOLDER_PATH, { recursive: true });
    return await writeFile(path, text);
  }
  const golden = await readFile(path, "utf8").catch(() => "");
  if (golden === text) return;
  const lines = golden.split("\n");
  const at = text.split("\n").findIndex((line, index) => line !== lines[index]);
  problems.push(`${name}: differs from ${path} at line ${at + 1}; if that is meant: UPDATE=1 make chart`);
}

function indented(template: string): string {
  return template
    .trimEnd()
    .split("\n")
    .map((line) => `${line === "" ? "  " : "    "}${line}\n`)
    .join("");
}

/** vmlet itself takes the configuration that is rendered. */
function checkConfig(name: string, manifests: Readonly<Record<string, string>>): void {
  const [first = ""] = (manifests["vmlet/templates/configmaps.yaml"] ?? "").split("\n---\n");
  const { data } = parse(first) as { data: { "config.yaml": string } };
  try {
    parseConfig(data["config.yaml"], "config.yaml", []);
  } catch (error) {
    problems.push(`${name}: ${error instanceof Error ? error.message : String(error)}`);
  }
}
