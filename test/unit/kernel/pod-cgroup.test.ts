import { existsSync } from "node:fs";
import { mkdir, mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, expect, test } from "vitest";
import { joinPodCgroup, leavePodCgroup } from "../../../src/kernel/pod-cgroup.ts";

const POD = "/kubepods/pod1";
let folder: string;

beforeEach(async () => void (folder = await mkdtemp(join(tmpdir(), "vmlet-cgroups-"))));
afterEach(async () => await rm(folder, { recursive: true }));

/** Plain folders that look like hierarchies; answers the path of what is like /proc/self/mounts. */
async function hierarchies(types: Readonly<Record<string, "cgroup" | "cgroup2">>): Promise<string> {
  const lines = Object.entries(types).map(([name, type]) => `x ${join(folder, name)} ${type} rw,${name} 0 0`);
  for (const name of Object.keys(types)) await mkdir(join(folder, name, POD), { recursive: true });
  await writeFile(join(folder, "mounts"), ["tmpfs /sys/fs/cgroup tmpfs rw 0 0", ...lines, ""].join("\n"));
  return join(folder, "mounts");
}

const procs = async (...path: string[]): Promise<string | undefined> =>
  await readFile(join(folder, ...path, "cgroup.procs"), "utf8").catch(() => undefined);

test("a process comes into a group of its own below the pod's, in every hierarchy that has the pod's", async () => {
  const mounts = await hierarchies({ memory: "cgroup", "name=systemd": "cgroup", unified: "cgroup2" });
  await joinPodCgroup(42, POD, mounts);
  for (const name of ["memory", "name=systemd", "unified"]) expect(await procs(name, POD, "vmlet")).toBe("42");
});

test("it leaves our own group of v1 where the pod has none, and keeps that of v2", async () => {
  const mounts = await hierarchies({ memory: "cgroup", devices: "cgroup", unified: "cgroup2" });
  for (const name of ["devices", "unified"]) await rm(join(folder, name, POD), { recursive: true });
  await joinPodCgroup(42, POD, mounts);
  expect([await procs("memory", POD, "vmlet"), await procs("devices"), await procs("unified")]).toEqual([
    "42",
    "42",
    undefined,
  ]);
});

test("a pod that has no cgroup changes nothing", async () => {
  const mounts = await hierarchies({ memory: "cgroup", unified: "cgroup2" });
  await joinPodCgroup(42, "/kubepods/other", mounts);
  expect([await procs("memory"), await procs("unified")]).toEqual([undefined, undefined]);
});

test("a set of CPUs of v1, which is empty where it is made, becomes the pod's", async () => {
  const mounts = await hierarchies({ cpuset: "cgroup" });
  const own = join(folder, "cpuset", POD, "vmlet");
  await mkdir(own);
  for (const name of ["cpuset.cpus", "cpuset.mems"]) {
    await writeFile(join(folder, "cpuset", POD, name), `${name} of the pod\n`);
    await writeFile(join(own, name), "\n");
  }
  await joinPodCgroup(42, POD, mounts);
  expect(await readFile(join(own, "cpuset.cpus"), "utf8")).toBe("cpuset.cpus of the pod\n");
  expect(await readFile(join(own, "cpuset.mems"), "utf8")).toBe("cpuset.mems of the pod\n");
});

test("left, its group is gone, and one with somebody in it, or none, is no error", async () => {
  const mounts = await hierarchies({ memory: "cgroup", unified: "cgroup2", devices: "cgroup" });
  await mkdir(join(folder, "memory", POD, "vmlet"));
  await mkdir(join(folder, "unified", POD, "vmlet/full"), { recursive: true });
  await leavePodCgroup({ cgroupPath: POD, mountsPath: mounts }, AbortSignal.timeout(10_000));
  expect(existsSync(join(folder, "memory", POD, "vmlet"))).toBe(false);
  expect(existsSync(join(folder, "memory", POD))).toBe(true);
});
