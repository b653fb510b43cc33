// docs/debugging.md, command by command, on a pod that runs.

import { existsSync, readFileSync } from "node:fs";
import { mkdir, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { run } from "../../../src/lib/spawn.ts";
import { REPO_PATH } from "../../node/layout.ts";
import { startTestNode, type TestNode } from "../../node/test-node.ts";
import { untilAgentAnswers } from "./guest-agent.ts";
import { VmPod } from "./vm-pod.ts";

interface Command {
  readonly text: string;
  /** Parts of what it prints, with shell variables in them. */
  readonly wanted: string[];
}

interface Outcome {
  readonly exitCode: number;
  readonly printed: string;
  readonly wanted: readonly string[];
}

const crictl = join(REPO_PATH, ".cache/bin/crictl");
const hasCrictl = existsSync(crictl);
const suite = AbortSignal.timeout(600_000);
const MARK = "@@vmlet-docs@@";

const commands = commandsOf(readFileSync(join(REPO_PATH, "docs/debugging.md"), "utf8"));

describe.skipIf(!hasCrictl)(
  hasCrictl ? "docs/debugging.md" : "docs/debugging.md (skipped: crictl not built, Go or its module proxy is missing)",
  () => {
    let node: TestNode;
    let outcomes: readonly Outcome[] = [];

    beforeAll(async () => {
      node = await startTestNode({}, suite);
      const pod = await VmPod.start(node, { name: "web" }, suite);
      await pod.says("tiny: ready", suite);
      const domain = await pod.domain(suite);
      await untilAgentAnswers(domain, suite);
      outcomes = await runAll(node);
    }, 600_000);
    afterAll(async () => {
      await node[Symbol.asyncDispose]();
      await rm("/tmp/screen.ppm", { force: true });
    });

    test("has a command for each part of a VM", () => expect(commands.length).toBeGreaterThan(20));

    test.each(commands.map(({ text }, index) => [text, index] as const))("%s", (_text, index) => {
      const { exitCode, printed, wanted } = outcomes[index] ?? { exitCode: -1, printed: "not run", wanted: [] };
      expect(exitCode, printed).toBe(0);
      for (const part of wanted) expect(printed).toContain(part);
    });
  },
);

/** A command is a line; lines after `#>` are parts of what it prints. */
function commandsOf(page: string): Command[] {
  const found: Command[] = [];
  for (const [, block = ""] of page.matchAll(/^```sh\n([\s\S]*?)^```$/gm)) {
    for (const line of block.trimEnd().split("\n")) {
      if (line.startsWith("#> ")) found.at(-1)?.wanted.push(line.slice(3));
      else found.push({ text: line, wanted: [] });
    }
  }
  return found;
}

/** All in one shell, so that variables reach the commands after them, as they do for a reader. */
async function runAll(node: TestNode): Promise<Outcome[]> {
  const { runFolderPath, stateFolderPath, crictlConfigPath } = node.layout;
  const binPath = join(runFolderPath, "bin");
  await mkdir(binPath, { recursive: true });
  const wrapper = `#!/bin/sh\nexec ${crictl} --config ${crictlConfigPath} "$@"\n`;
  await writeFile(join(binPath, "crictl"), wrapper, { mode: 0o755 });
  const here = (text: string): string =>
    text.replaceAll("/var/lib/vmlet/", `${stateFolderPath}/`).replaceAll("/run/vmlet/", `${runFolderPath}/`);
  const script = commands.map(({ text, wanted }) =>
    [
      `{ ${here(text)}\n} 2>&1`,
      `echo; echo "${MARK}$?"`,
      ...wanted.map((part) => `echo "${here(part).replaceAll('"', '\\"')}"`),
      `echo "${MARK}"`,
    ].join("\n"),
  );
  const env = { HOME: "/root", PATH: `${binPath}:/usr/sbin:/usr/bin:/sbin:/bin` };
  const { stdout } = await run("/bin/bash", ["-u"], { env, stdin: script.join("\n") }, suite);
  const parts = stdout.toString("utf8").split(`${MARK}\n`).slice(0, -1);
  return parts.map((part) => {
    const [printed = "", rest = ""] = part.split(MARK);
    const [exitCode, ...wanted] = rest.trimEnd().split("\n");
    return { exitCode: Number(exitCode), printed, wanted };
  });
}
