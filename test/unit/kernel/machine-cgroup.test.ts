// The groups of machines, in plain folders that look like hierarchies.

import { existsSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, expect, test } from "vitest";
import { createMachineCgroups } from "../../../src/kernel/machine-cgroup.ts";
import type { MachineId } from "../../../src/model/ids.ts";
import type { CpuLimits, MachineCgroups } from "../../../src/ports/machine-cgroups.ts";
import { machineCgroupsContract } from "../../contract/machine-cgroups.contract.ts";
import { keptLog } from "../../fakes/kept-log.ts";
import { FakeMachineCgroups } from "../../fakes/machine-cgroups.ts";

const POD = "/kubepods/burstable/pod1";
const MACHINE = "ab".repeat(32) as MachineId;
const PID = 4_000_042; // above any real one
const soon = (): AbortSignal => AbortSignal.timeout(20_000);
const V1_FILES = {
  cpu: { "cpu.shares": "1024", "cpu.cfs_quota_us": "-1", "cpu.cfs_period_us": "100000" },
  cpuset: { "cpuset.cpus": "\n", "cpuset.mems": "\n" },
  memory: { "memory.usage_in_bytes": "0" },
  devices: { "devices.list": "a *:* rwm" },
};
const V2_FILES = { "cpu.weight": "100", "cpu.max": "max 100000", "cpuset.cpus": "\n", "cpuset.mems": "\n" };

let folder: string;
let log: ReturnType<typeof keptLog>;
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), "vmlet-machine-cgroups-"));
  log = keptLog();
});
afterEach(async () => await rm(folder, { recursive: true, force: true }));

/** With files such as the kernel makes in the machine's group. */
function hierarchies(types: Readonly<Record<string, 1 | 2>>): { readonly cgroups: MachineCgroups } {
  const lines = Object.entries(types).map(([name, version]) => {
    const pod = join(folder, name, POD);
    mkdirSync(join(pod, "vmlet-machine"), { recursive: true });
    const files = version === 2 ? V2_FILES : V1_FILES[name as keyof typeof V1_FILES];
    for (const [file, content] of Object.entries(files)) {
      writeFileSync(join(pod, "vmlet-machine", file), content);
      writeFileSync(join(pod, file), content.trim() === "" ? "0-3\n" : content);
    }
    if (version === 2)
      for (const path of [pod, join(pod, "vmlet-machine")])
        writeFileSync(join(path, "cgroup.controllers"), "cpu memory\n");
    return `x ${join(folder, name)} ${version === 2 ? "cgroup2" : "cgroup"} rw,${name} 0 0\n`;
  });
  writeFileSync(join(folder, "mounts"), lines.join(""));
  const options = { cgroupFolderPath: join(folder, "notes"), mountsPath: join(folder, "mounts") };
  return { cgroups: createMachineCgroups(options, { log }) };
}
const V1 = { cpu: 1, cpuset: 1, memory: 1 } as const;
const told = (...path: string[]): string => readFileSync(join(folder, ...path), "utf8");
const toldIn = (hierarchy: string, file: string): string => told(hierarchy, POD, "vmlet-machine", file);
const place = async ({ cgroups }: { cgroups: MachineCgroups }, cpu: CpuLimits, cgroupPath = POD): Promise<void> =>
  await cgroups.place({ machineId: MACHINE, pid: PID, cgroupPath, cpu }, soon());

machineCgroupsContract("a machine's group of v1", async () => {
  const { cgroups } = hierarchies(V1);
  return {
    cgroups,
    cgroupPath: POD,
    limitsOf: async (machineId) => {
      if (!existsSync(join(folder, "notes", machineId))) return undefined;
      const [shares, quotaUs, periodUs] = ["cpu.shares", "cpu.cfs_quota_us", "cpu.cfs_period_us"].map((file) =>
        Number(toldIn("cpu", file)),
      );
      return quotaUs === -1 ? { shares } : { shares, quotaUs, periodUs };
    },
    [Symbol.asyncDispose]: async () => {},
  } as Awaited<ReturnType<Parameters<typeof machineCgroupsContract>[1]>>;
});

machineCgroupsContract("the fake", async () => {
  const cgroups = new FakeMachineCgroups();
  return {
    cgroups,
    cgroupPath: POD,
    limitsOf: async (machineId) => cgroups.placed.get(machineId)?.cpu,
    [Symbol.asyncDispose]: async () => {},
  };
});

test("the process comes into a group of its own in every hierarchy, on the CPUs that are said, or the pod's", async () => {
  await place(hierarchies(V1), { cpuset: "1" });
  for (const name of Object.keys(V1)) expect(toldIn(name, "cgroup.procs")).toBe(`${PID}`);
  expect(toldIn("cpuset", "cpuset.cpus")).toBe("1");
  expect(toldIn("cpuset", "cpuset.mems")).toBe("0-3\n");
});

test("libvirt's list of the devices that QEMU may open stays in force", async () => {
  await place(hierarchies({ ...V1, devices: 1 }), {});
  expect(existsSync(join(folder, "devices", POD, "vmlet-machine/cgroup.procs"))).toBe(false);
  expect(toldIn("memory", "cgroup.procs")).toBe(`${PID}`);
});

test("v2 is told weights as the kubelet reckons them, and hands its controllers on", async () => {
  const world = hierarchies({ unified: 2 });
  await place(world, { shares: 1024, periodUs: 50_000, quotaUs: 25_000, memoryNodes: "0" });
  expect(toldIn("unified", "cgroup.procs")).toBe(`${PID}`);
  expect(toldIn("unified", "cpu.weight")).toBe("39");
  expect(toldIn("unified", "cpu.max")).toBe("25000 50000");
  expect(toldIn("unified", "cpuset.mems")).toBe("0");
  expect(toldIn("unified", "cpuset.cpus")).toBe("\n"); // as above
  expect(told("unified", POD, "cgroup.subtree_control")).toBe("+memory"); // the last that was written
  await world.cgroups.tune(MACHINE, { shares: 1 }, soon());
  expect([toldIn("unified", "cpu.weight"), toldIn("unified", "cpu.max")]).toEqual(["1", "max"]);
});

test("a pod whose cgroup is not there is told of, and its machine left where it is", async () => {
  const world = hierarchies(V1);
  await place(world, {}, "/kubepods/other");
  expect(log.lines).toMatchObject([{ level: "warn", fields: { machine: MACHINE, cgroup: "/kubepods/other" } }]);
  expect(await world.cgroups.tune(MACHINE, {}, soon())).toBe(false);
});

test("a machine that could not be moved has the limits that libvirt gives it", async () => {
  const world = hierarchies(V1);
  for (const name of Object.keys(V1)) mkdirSync(join(folder, name, POD, "vmlet-machine/cgroup.procs")); // takes nobody
  await place(world, {});
  expect(log.lines).toMatchObject([{ level: "warn", message: "QEMU is not in its pod's cgroup" }]);
  expect(await world.cgroups.tune(MACHINE, { shares: 2 }, soon())).toBe(false);
});

test("its end is that of the group, and of those in which libvirt began it, also for a daemon that came later", async () => {
  const { cgroups } = hierarchies(V1);
  const born = join(folder, "memory/machine/qemu-7-web.libvirt-qemu");
  mkdirSync(join(born, "vcpu0"), { recursive: true });
  mkdirSync(join(folder, "notes"));
  writeFileSync(join(folder, "notes", MACHINE), JSON.stringify({ cgroupPath: POD, bornInPaths: [born] }));
  await rm(join(folder, "cpuset", POD, "vmlet-machine"), { recursive: true });
  mkdirSync(join(folder, "cpuset", POD, "vmlet-machine"));
  await cgroups.leave(MACHINE, soon());
  expect(existsSync(born)).toBe(false);
  expect(existsSync(join(folder, "memory/machine"))).toBe(true);
  expect(existsSync(join(folder, "cpuset", POD, "vmlet-machine"))).toBe(false);
  expect(existsSync(join(folder, "cpuset", POD))).toBe(true);
});

test("what we noted and cannot read any more keeps no machine from its end", async () => {
  const { cgroups } = hierarchies(V1);
  mkdirSync(join(folder, "notes"));
  writeFileSync(join(folder, "notes", MACHINE), "{");
  await cgroups.leave(MACHINE, soon());
  expect(existsSync(join(folder, "notes", MACHINE))).toBe(false);
});
