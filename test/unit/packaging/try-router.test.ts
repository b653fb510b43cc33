// packaging/try-router with the real router, which stands before a runtime that answers, or before none.

import { mkdtemp, readdir, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, expect, test } from "vitest";
import { run } from "../../../src/lib/spawn.ts";
import { CriRuntime } from "../../fakes/cri-runtime.ts";

const signal = AbortSignal.timeout(60_000);
let folder = "";
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), "vmlet-try-"));
});
afterEach(async () => await rm(folder, { recursive: true, force: true }));

/** @param within Seconds; a router that ends by itself is not waited for. */
async function tryRouter(settings: string, within = 40): Promise<{ exitCode: number | null; stderr: string }> {
  const configPath = join(folder, "config.yaml");
  await writeFile(configPath, settings);
  const env = { PATH: process.env["PATH"] ?? "", TMPDIR: folder, ANSWERS_WITHIN_SECONDS: String(within) };
  const { exitCode, stderr } = await run(join(process.cwd(), "packaging/try-router"), [configPath], { env }, signal);
  return { exitCode, stderr };
}

const before = (socketPath: string): string => `router: { containersSocketPath: ${socketPath} }\n`;

test("a router before a runtime that answers is well, and leaves nothing", async () => {
  const containers = new CriRuntime("containerd", join(folder, "c.sock"));
  await containers.start();
  try {
    expect(await tryRouter(before(containers.socketPath))).toEqual({ exitCode: 0, stderr: "" });
    expect((await readdir(folder)).toSorted()).toEqual(["c.sock", "config.yaml"]);
  } finally {
    await containers.kill();
  }
}, 60_000);

test.each([
  ["a runtime that is not there", before("/nonexistent.sock"), 5, /does not answer/],
  [
    "settings that it does not take",
    "images: { translations: [{ regexp: '(', url: 'http://x/' }] }\n",
    40,
    /translations/,
  ],
])(
  "a router with %s is not, and says why",
  async (_what, settings, within, why) => {
    const { exitCode, stderr } = await tryRouter(settings, within);
    expect(exitCode).toBe(1);
    expect(stderr).toMatch(why);
    expect(await readdir(folder)).toEqual(["config.yaml"]);
  },
  60_000,
);
