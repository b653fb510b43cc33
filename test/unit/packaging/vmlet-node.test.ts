import { chmod, mkdir, mkdtemp, readdir, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { afterEach, beforeEach, expect, test } from "vitest";
import { run } from "../../../src/lib/spawn.ts";
import { poll } from "../../node/poll.ts";

const signal = AbortSignal.timeout(60_000);
const BUILD = "0.1.0-abc";
let folder = "";
const at = (path: string): string => join(folder, path);

beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), "vmlet-node-"));
  await file("own/build-id", `${BUILD}\n`);
  await file("own/packaging/systemd/vmlet-router.service", "ExecStart=@LIB@/bin/vmlet router\n");
  await file("settings", "logLevel: debug\n");
  await program("bin/nsenter", 'while [ "$1" != -- ]; do shift; done; shift; exec "$@"');
  await program("bin/systemctl", `echo "$*" >>${folder}/told`);
  await program("bin/sleep", `echo "$*" >>${folder}/slept; [ "$1" = infinity ] || exec /bin/sleep 0.05`);
  await newBuild(BUILD);
});
afterEach(async () => await rm(folder, { recursive: true, force: true }));

async function file(path: string, text: string): Promise<void> {
  await mkdir(dirname(at(path)), { recursive: true });
  await writeFile(at(path), text);
}

async function program(path: string, script: string): Promise<void> {
  await file(path, `#!/bin/sh\n${script}\n`);
  await chmod(at(path), 0o755);
}

/** As `unpack` leaves it; its router answers unless its settings say `broken`. */
async function newBuild(build: string): Promise<void> {
  await file("own/build-id", `${build}\n`);
  const packaging = `programs/${build}/program/packaging`;
  await program(`${packaging}/try-router`, `cat "$1" >${folder}/tried; ! grep -q broken "$1"`);
  await program(`${packaging}/kubelet-endpoint`, `echo "kubelet $1" >>${folder}/told`);
}

async function node(
  verb: string,
  more: Readonly<Record<string, string>> = {},
): Promise<{ exitCode: number | null; said: string; told: string[] }> {
  const env = {
    PATH: `${at("bin")}:/usr/bin:/bin`,
    OWN_FOLDER: at("own"),
    PROGRAM_FOLDER: at("programs"),
    SYSTEMD_FOLDER: at("systemd"),
    CONFIG_FOLDER: at("etc"),
    SETTINGS_PATH: at("settings"),
    ROUTER_STATE_FOLDER: at("router"),
    STATE_FOLDER: at("state"),
    GONE_PATH: at("gone"),
    KUBELET_UNIT: "kubelet.service",
    ...more,
  };
  const { exitCode, stdout, stderr } = await run(
    join(process.cwd(), "packaging/image/vmlet-node"),
    [verb],
    { env },
    signal,
  );
  return { exitCode, said: stdout.toString("utf8") + stderr, told: await told() };
}

async function told(): Promise<string[]> {
  const text = await readFile(at("told"), "utf8").catch(() => "");
  await rm(at("told"), { force: true });
  return text.split("\n").filter((line) => /restart|kubelet|disable/.test(line));
}

const installed = ["restart vmlet-router.service", "kubelet use"];

test("the router is installed and the kubelet asks it; said again, it is not started anew", async () => {
  expect(await node("router-install")).toMatchObject({ exitCode: 0, told: installed });
  expect(await readFile(at("systemd/vmlet-router.service"), "utf8")).toBe(
    `ExecStart=${at(`programs/${BUILD}/program`)}/bin/vmlet router\n`,
  );
  expect(await node("router-install")).toMatchObject({ exitCode: 0, told: ["kubelet use"] });
});

test("settings reach the node as they are, backslashes and all", async () => {
  const settings = String.raw`regexp: 'vmlet\.dev/\bdebian\n\c(.*)\\'`;
  await file("settings", `${settings}\n`);
  await node("router-install");
  expect(await readFile(at("etc/config.yaml"), "utf8")).toBe(`${settings}\n`);
  expect((await node("router-install")).told).toEqual(["kubelet use"]);
});

test("settings with which no router answers leave the node's router and its settings alone", async () => {
  await node("router-install");
  await newBuild("0.1.1-def");
  await file("settings", "broken: yes\n");
  const { exitCode, said, told } = await node("router-install");
  expect({ exitCode, told }).toEqual({ exitCode: 1, told: [] });
  expect(said).toContain("as it was");
  expect(await readFile(at("tried"), "utf8")).toBe("broken: yes\n");
  expect(await readFile(at("systemd/vmlet-router.service"), "utf8")).toContain(BUILD);
  expect(await readFile(at("etc/config.yaml"), "utf8")).toBe("logLevel: debug\n");
  expect(await readdir(at("etc"))).toEqual(["config.yaml"]);
});

test("an installer that was killed before it started the new router starts it the next time", async () => {
  await node("router-install");
  await newBuild("0.1.1-def");
  await program("bin/systemctl", `[ "$1" != daemon-reload ] || kill -KILL $PPID`);
  expect((await node("router-install")).exitCode).not.toBe(0);
  expect(await readFile(at("systemd/vmlet-router.service"), "utf8")).toContain("0.1.1-def");
  await program("bin/systemctl", `echo "$*" >>${folder}/told`);
  expect((await node("router-install")).told).toEqual(installed);
});

test("a router that somebody stopped is started", async () => {
  await node("router-install");
  await program("bin/systemctl", `echo "$*" >>${folder}/told; [ "$1" != is-active ]`);
  expect((await node("router-install")).told).toEqual(installed);
});

test("router and kubelet stay while there are machines; with the last one the router goes", async () => {
  await node("router-install");
  await mkdir(at("state/pods/one"), { recursive: true });
  const removing = node("router-remove");
  await poll(
    async () => ((await readFile(at("slept"), "utf8").catch(() => "")) === "" ? undefined : true),
    { what: "waiting", limitMs: 10_000 },
    signal,
  );
  expect(await readdir(folder)).not.toContain("gone");
  expect(await told()).toEqual([]);
  await rm(at("state/pods/one"), { recursive: true });
  const { exitCode, said, told: after } = await removing;
  expect(exitCode, said).toBe(0);
  expect(said.match(/delete their pods/g)).toHaveLength(1);
  expect(after).toEqual(["kubelet restore", "disable --quiet --now vmlet-router.service"]);
  expect(await readFile(at("slept"), "utf8")).toMatch(/infinity\n$/);
  expect(await readdir(folder)).toContain("gone");
  expect(await readdir(at("systemd"))).toEqual([]);
});

test.each([
  ["flags\t\t: fpu vmx sse", "modprobe kvm_intel"],
  ["flags\t\t: fpu svm sse", "modprobe kvm_amd"],
  ["flags\t\t: fpu sse", "firmware"],
])("kvm: required on a node without, whose processor has %j, says how to mend it", async (cpuinfo, remedy) => {
  await file("cpuinfo", `${cpuinfo}\n`);
  const kvm = { KVM: "required", CPUINFO: at("cpuinfo"), KVM_DEVICE: at("kvm") };
  expect(await node("unpack", kvm)).toMatchObject({ exitCode: 1, said: expect.stringContaining(remedy) });
});
