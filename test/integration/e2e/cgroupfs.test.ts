// A kubelet whose driver is cgroupfs names cgroups that libvirt cannot be told of: QEMU is moved there before its guest runs.

import { existsSync, readlinkSync } from "node:fs";
import { readdir, readFile, writeFile } from "node:fs/promises";
import { dirname, join } from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import { LinuxContainerResources } from "../../../src/gen/runtime.ts";
import { run } from "../../../src/lib/spawn.ts";
import { startTestNode, type TestNode } from "../../node/test-node.ts";
import { PrivateLibvirtd } from "../libvirt/private-libvirtd.ts";
import { makePodGroup, type PodSlice } from "./pod-slice.ts";
import { qemuPid } from "./qemu-process.ts";
import { BOOT_LIMIT_MS, httpGet, VmPod } from "./vm-pod.ts";

const suite = AbortSignal.timeout(8 * BOOT_LIMIT_MS);
const OWN = "vmlet-machine";
const LIMITS = { cpuShares: 512n, cpuPeriod: 100_000n, cpuQuota: 150_000n, memoryLimitInBytes: 256n << 20n };
let libvirtd: PrivateLibvirtd;
let group: PodSlice;
let node: TestNode;

beforeAll(async () => {
  libvirtd = await PrivateLibvirtd.start({ hasCgroups: true });
  group = await makePodGroup("vmlettest");
  node = await startTestNode({ config: { libvirt: { socketPath: libvirtd.socketPath } } }, suite);
});
afterAll(async () => {
  await libvirtd.startDaemon().catch(() => {});
  await node[Symbol.asyncDispose]();
  await libvirtd[Symbol.asyncDispose]();
  await group[Symbol.asyncDispose]();
});

const startPod = async (name: string): Promise<VmPod> =>
  await VmPod.start(
    node,
    { name, pod: { linux: { cgroupParent: group.name } }, container: { linux: { resources: LIMITS } } },
    suite,
  );
const cgroupsOf = async (pid: number): Promise<string[]> => (await readFile(`/proc/${pid}/cgroup`, "utf8")).split("\n");
const moved = (lines: readonly string[]): string[] => lines.filter((line) => line.endsWith(`:${group.path}/${OWN}`));
/** A file of QEMU's group, in the hierarchy that has it. */
async function told(file: string): Promise<string | undefined> {
  const paths = group.folders.map((folder) => join(folder, OWN, file)).filter(existsSync);
  return paths[0] === undefined ? undefined : (await readFile(paths[0], "utf8")).trim();
}
async function limits(): Promise<unknown> {
  const [shares, quota, cpus] = [await told("cpu.shares"), await told("cpu.cfs_quota_us"), await told("cpuset.cpus")];
  return { shares: shares ?? (await told("cpu.weight")), quota: quota ?? (await told("cpu.max")), cpus };
}
const isV1 = existsSync("/sys/fs/cgroup/memory");
const limitsOf = (v1: readonly string[], v2: readonly string[], cpus: string) => {
  const [shares, quota] = isV1 ? v1 : v2;
  return { shares, quota, cpus };
};
/** What libvirt made for a QEMU of this test, and we for any. */
async function groupsLeft(): Promise<string[]> {
  const names = group.folders.map(async (folder) => {
    const machines = join(dirname(dirname(dirname(folder))), "machine");
    const left = (await readdir(machines).catch(() => [])).filter((name) => /^qemu-\d+-default(moved|kept)/.test(name));
    return [...left, ...(await readdir(folder)).filter((name) => name.startsWith("vmlet"))];
  });
  return (await Promise.all(names)).flat();
}
async function update({ containerId }: VmPod, linux: Partial<LinuxContainerResources>): Promise<void> {
  const resources = LinuxContainerResources.fromPartial(linux);
  await node.cri.runtime.updateContainerResources(
    { containerId, linux: resources, windows: undefined, annotations: {} },
    suite,
  );
}
async function statsOf({ containerId }: VmPod) {
  const { stats } = await node.cri.runtime.containerStats({ containerId }, suite);
  return { cpu: stats?.cpu?.usageCoreNanoSeconds?.value ?? 0n, memory: stats?.memory?.usageBytes?.value ?? 0n };
}

test("QEMU and its DHCP server are in the pod's cgroup, with the limits of the container, and nothing is left", {
  timeout: 2 * BOOT_LIMIT_MS,
}, async () => {
  const pod = await startPod("moved");
  const pid = (await qemuPid(pod.containerId)) ?? 0;
  const qemu = await cgroupsOf(pid);
  const own = qemu.filter((line) => line.includes(":devices:"));
  expect(moved(qemu)).toHaveLength(group.count - own.length);
  for (const tid of await readdir(`/proc/${pid}/task`)) expect(await cgroupsOf(Number(tid))).toEqual(qemu);
  // Which devices it may open is as libvirt said.
  expect(own.join()).not.toContain(group.path);
  const server = await run("/usr/bin/pgrep", ["-f", `conf-file=.*/${pod.podId}/`], {}, suite);
  const itsGroups = await cgroupsOf(Number(server.stdout.toString()));
  expect(itsGroups.filter((line) => line.endsWith(`:${group.path}/vmlet`))).toHaveLength(group.count);
  expect(await limits()).toMatchObject(limitsOf(["512", "150000"], ["20", "150000 100000"], expect.any(String)));
  await httpGet(`http://${await pod.ip(suite)}/`, suite);
  // The guest's memory: nothing of it was touched before.
  const usage = Number((await told("memory.usage_in_bytes")) ?? (await told("memory.current")));
  expect(usage).toBeGreaterThan(40 << 20);
  expect(Number((await statsOf(pod)).memory)).toBeGreaterThan(40 << 20);
  await pod.remove(suite);
  expect(await groupsLeft()).toEqual([]);
  expect(await node.leftovers(suite)).toEqual([]);
});

test("a libvirtd that was restarted, and a daemon, have not lost it: limits, figures and its end are as before", {
  timeout: 2 * BOOT_LIMIT_MS,
}, async () => {
  const pod = await startPod("kept");
  const pid = (await qemuPid(pod.containerId)) ?? 0;
  await update(pod, { cpuShares: 700n, cpusetCpus: "0" });
  expect(await limits()).toEqual(limitsOf(["700", "150000"], ["27", "150000 100000"], "0"));
  const before = await statsOf(pod);
  await libvirtd.stopDaemon();
  await libvirtd.startDaemon();
  await node.kill(suite);
  await node.start(suite);
  const devices = (lines: readonly string[]) => lines.filter((line) => line.includes(":devices:"));
  expect(moved(await cgroupsOf(pid))).toHaveLength(group.count - devices(await cgroupsOf(pid)).length);
  await update(pod, { cpuShares: 300n, cpuQuota: 50_000n, cpusetCpus: "0-1", cpusetMems: "0" });
  expect(await limits()).toEqual(limitsOf(["300", "50000"], ["12", "50000 100000"], "0-1"));
  for (const tid of await readdir(`/proc/${pid}/task`))
    expect(await readFile(`/proc/${pid}/task/${tid}/status`, "utf8").catch(() => "")).toMatch(
      /^$|^Cpus_allowed_list:\s+0-1$/m,
    );
  await update(pod, { cpuQuota: -1n });
  expect(await limits()).toEqual(limitsOf(["300", "-1"], ["12", "max 100000"], "0-1"));
  await expect(update(pod, { cpusetCpus: "999" })).rejects.toThrow("linux.cpuset_cpus");
  const after = await statsOf(pod);
  expect(after.cpu).toBeGreaterThan(before.cpu);
  expect(after.memory).toBeGreaterThan(0n);
  process.kill(pid, "SIGKILL");
  expect(await pod.exited(suite)).toMatchObject({ exitCode: 255 });
  await pod.remove(suite);
  expect(await groupsLeft()).toEqual([]);
  expect(await node.leftovers(suite)).toEqual([]);
});

/** The kernel's log has the pids of the machine; the number is that of its first pid namespace. */
const hasMachinesPids = readlinkSync("/proc/self/ns/pid") === "pid:[4026531836]";

test.skipIf(!hasMachinesPids)(
  hasMachinesPids
    ? "a machine that the pod's own limit ends is OOMKilled"
    : "a pod's own limit (skipped: pids are of a namespace)",
  { timeout: 2 * BOOT_LIMIT_MS },
  async () => {
    const files = group.folders.flatMap((folder) =>
      ["memory.limit_in_bytes", "memory.max"].map((name) => join(folder, name)).filter(existsSync),
    );
    const limit = async (bytes: string): Promise<void> => {
      for (const file of files) await writeFile(file, bytes);
    };
    await using undo = new AsyncDisposableStack();
    undo.defer(async () => await limit("-1").catch(async () => await limit("max")));
    await limit(`${40 << 20}`);
    const pod = await startPod("kept-short");
    expect(await pod.exited(suite)).toMatchObject({ exitCode: 137, reason: "OOMKilled" });
    await pod.remove(suite);
    expect(await groupsLeft()).toEqual([]);
  },
);
