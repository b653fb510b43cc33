// What Helm says at the end, as it is rendered for the goldens of `make chart`: its commands, typed as they stand there.

import { chmod, mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, expect, test } from "vitest";
import { parse } from "yaml";
import { run } from "../../../src/lib/spawn.ts";

const signal = AbortSignal.timeout(30_000);
let folder = "";
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), "vmlet-notes-"));
  for (const name of ["kubectl", "helm", "rm"]) {
    const script = `#!/bin/sh\necho "${name} $*" >>${folder}/typed\ncase "$*" in *"-f -"*) cat >${folder}/manifest ;; esac\n`;
    await writeFile(join(folder, name), script);
    await chmod(join(folder, name), 0o755);
  }
});
afterEach(async () => await rm(folder, { recursive: true, force: true }));

/** Lines that are commands, with what their heredocs take up to the line that ends them. */
function commandsIn(notes: string): string {
  let isHeredoc = false;
  const lines = notes.split("\n").filter((line) => {
    const isCommand = isHeredoc || /^ *(kubectl|helm|rm) /.test(line);
    isHeredoc = isHeredoc ? line !== "EOF" : isCommand && line.endsWith("<<EOF");
    return isCommand;
  });
  return lines.join("\n");
}

async function typed(golden: string): Promise<string[]> {
  const text = await readFile(`test/chart/golden/${golden}.yaml`, "utf8");
  const [notes = ""] = text.split("\n# vmlet/templates/configmaps.yaml\n");
  await writeFile(join(folder, "script"), commandsIn(notes));
  const options = { env: { PATH: `${folder}:/usr/bin:/bin` } };
  const { exitCode, stderr } = await run("/bin/sh", ["-eu", join(folder, "script")], options, signal);
  expect({ exitCode, stderr }).toEqual({ exitCode: 0, stderr: "" });
  return (await readFile(join(folder, "typed"), "utf8")).trim().split("\n");
}

test.each(["default", "everything", "bare"])("of %s, the first machine is made by what is typed", async (golden) => {
  const commands = await typed(golden);
  expect(parse(await readFile(join(folder, "manifest"), "utf8"))).toMatchObject({
    kind: "Pod",
    spec: { runtimeClassName: "vmlet", containers: [{ image: "quay.io/containerdisks/debian:12" }] },
  });
  expect(commands).toContain("kubectl wait --for=condition=Ready pod/first --timeout=10m");
});

test("the way out keeps the values that were given, and each of its steps names the release's namespace", async () => {
  const way = [...(await typed("default")).slice(-1), ...(await typed("remove")).slice(-3)];
  expect(way).toEqual([
    "helm upgrade vmlet CHART --namespace vmlet-system --reset-then-reuse-values --set router.mode=remove",
    "kubectl --namespace vmlet-system rollout status daemonset/vmlet",
    "helm uninstall vmlet --namespace vmlet-system",
    expect.stringMatching(/^rm -rf \/etc\/vmlet /),
  ]);
});

test("without a router of its own there is one step", async () => {
  expect((await typed("bare")).at(-1)).toBe("helm uninstall vmlet --namespace vmlet-system");
});
