import { existsSync } from "node:fs";
import { cp, mkdtemp, readdir, readFile, readlink, rm, stat } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import { run } from "../../../src/lib/spawn.ts";

const signal = AbortSignal.timeout(120_000);
let root = "";

beforeAll(async () => {
  root = await mkdtemp(join(tmpdir(), "vmlet-install-"));
  await install();
  await install(); // over an older one
}, 120_000);
afterAll(async () => await rm(root, { recursive: true, force: true }));

async function install(): Promise<void> {
  const { exitCode, stderr } = await run("packaging/install", [root, "/usr"], { cwd: process.cwd() }, signal);
  expect(stderr).toBe("");
  expect(exitCode).toBe(0);
}

const at = (path: string): string => join(root, "usr/lib", path);

test("what is installed runs without the checkout", async () => {
  expect(await readlink(join(root, "usr/bin/vmlet"))).toBe("/usr/lib/vmlet/bin/vmlet");
  const { stdout, exitCode } = await run(at("vmlet/bin/vmlet"), ["serve", "--help"], {}, signal);
  expect(exitCode).toBe(0);
  expect(stdout.toString("utf8")).toContain("--state-folder-path");
});

test("no tool of development is installed", async () => {
  for (const name of ["typescript", "vitest", "@biomejs", "fast-check"])
    expect(existsSync(at(`vmlet/node_modules/${name}`)), name).toBe(false);
  expect((await stat(at("vmlet/bin/vmlet"))).mode & 0o022).toBe(0);
});

const hasSystemd = existsSync("/usr/bin/systemd-analyze");

test.skipIf(!hasSystemd)("systemd takes the units, with the programs that they name", async () => {
  await cp("/usr/lib/systemd/system", at("systemd/system"), { recursive: true, force: false });
  const args = ["verify", `--root=${root}`, "vmlet.service", "vmlet-router.service"];
  const { exitCode, stderr } = await run("systemd-analyze", args, {}, signal);
  expect(stderr).toBe("");
  expect(exitCode).toBe(0);
});

test.skipIf(!existsSync("/usr/bin/systemd-tmpfiles"))(
  "systemd makes the folders, and QEMU may go through",
  async () => {
    const file = at("tmpfiles.d/vmlet.conf");
    const { exitCode, stderr } = await run("systemd-tmpfiles", [`--root=${root}`, "--create", file], {}, signal);
    expect(exitCode, stderr).toBe(0);
    expect((await stat(join(root, "var/lib/vmlet"))).mode & 0o777).toBe(0o711);
    expect(await readFile(at("sysusers.d/vmlet.conf"), "utf8")).toMatch(/^g kvm /m);
  },
);

test("uninstalled, no file of it is left", async () => {
  const { exitCode } = await run("packaging/uninstall", [root, "/usr"], { cwd: process.cwd() }, signal);
  expect(exitCode).toBe(0);
  const left = (await readdir(join(root, "usr"), { recursive: true })).filter((path) => path.includes("vmlet"));
  expect(left).toEqual([]);
});
