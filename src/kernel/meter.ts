// The Meter port: /proc, cgroups, the pod's netns. Files of these are read at once and not by threads: the kernel makes
// them in memory, in microseconds, and there are many of them each time the kubelet asks.

import { lstat } from "node:fs/promises";
import { isRecent } from "../lib/age.ts";
import { diskBytesOf } from "../lib/disk-blocks.ts";
import type { Run } from "../lib/spawn.ts";
import type { MachineId } from "../model/ids.ts";
import type { MachineUsage, NetworkUsage } from "../model/usage.ts";
import type { Clock } from "../ports/clock.ts";
import type { Hypervisor } from "../ports/hypervisor.ts";
import type { Meter } from "../ports/meter.ts";
import { type CgroupFolders, cgroupMountsOf, ownCgroupFolders, readCgroupUsage } from "./cgroup-usage.ts";
import { dhcpServerOf } from "./dhcp.ts";
import { MOUNTS_PATH } from "./mounts.ts";
import { interfacesIn } from "./net-counters.ts";
import { wasKilledForMemory } from "./oom-kills.ts";
import type { KernelOptions } from "./options.ts";
import { type ProcessUsage, readOr, readProcessUsage } from "./process-usage.ts";

export interface MeterParts {
  readonly clock: Clock;
  readonly run: Run;
  readonly pidOf: Hypervisor["pidOf"];
}

/** A QEMU that was found: it is the same as long as the pid's start is. */
interface Found {
  readonly pid: number;
  readonly startTicks: number;
  readonly folders: CgroupFolders;
}

/** One look into a netns by a program of its own. */
const LOOK_LIMIT_MS = 5_000;
/** A pod that needs such a look has no VM on an IPv4 network: there is not much to be counted, and it tells when it was. */
const LOOK_EVERY_MS = 60_000;

export function createMeter(options: KernelOptions, { clock, run, pidOf }: MeterParts): Meter {
  const mounts = cgroupMountsOf(readOr(MOUNTS_PATH) ?? "");
  const found = new Map<MachineId, Found>();
  const looks = new Map<string, NetworkUsage>();

  const find = async (machine: Parameters<Meter["machine"]>[0]): Promise<MachineUsage | undefined> => {
    const pid = await pidOf(machine);
    const own = pid === undefined ? undefined : readProcessUsage(pid);
    if (pid === undefined || own === undefined) {
      found.delete(machine.machineId);
      return undefined;
    }
    const folders = ownCgroupFolders(readOr(`/proc/${pid}/cgroup`) ?? "", mounts);
    found.set(machine.machineId, { pid, startTicks: own.startTicks, folders });
    return usageOf(own, folders, clock.nowMs());
  };

  return {
    async machine(machine) {
      const known = found.get(machine.machineId);
      const own = known && readProcessUsage(known.pid);
      const isSame = known !== undefined && own?.startTicks === known.startTicks;
      return isSame ? usageOf(own, known.folders, clock.nowMs()) : await find(machine);
    },

    wasKilledForMemory: (pid) => wasKilledForMemory(pid),

    async network({ podId, netnsPath }, signal) {
      const server = dhcpServerOf(podId, options);
      const atMs = clock.nowMs();
      const seen = server === undefined ? undefined : readOr(`/proc/${server}/net/dev`);
      if (seen !== undefined) return { atMs, interfaces: interfacesIn(seen) };
      for (const [path, look] of looks) if (!isRecent(look.atMs, atMs, LOOK_EVERY_MS)) looks.delete(path);
      const last = looks.get(netnsPath);
      if (last !== undefined) return last;
      const text = await lookInto(netnsPath, run, signal);
      if (text === undefined) return undefined;
      const look = { atMs, interfaces: interfacesIn(text) };
      looks.set(netnsPath, look);
      return look;
    },

    async disk(overlayPath) {
      const file = await lstat(overlayPath).catch(() => undefined);
      return file && { usedBytes: diskBytesOf(file), usedInodes: 1 };
    },
  };
}

/** The cgroup's word where it has one, for it has counted more. */
function usageOf(own: ProcessUsage, folders: CgroupFolders, atMs: number): MachineUsage {
  const { cpuNanos = own.cpuNanos, cpuPressure, memory, memoryPressure, ioPressure } = readCgroupUsage(folders);
  const { rssBytes, swapBytes, pageFaults, majorPageFaults, threads } = own;
  const byProcess = { workingSetBytes: rssBytes, usageBytes: rssBytes, rssBytes, pageFaults, majorPageFaults };
  return {
    atMs,
    cpu: { totalNanos: cpuNanos, ...(cpuPressure && { pressure: cpuPressure }) },
    memory: { ...(memory ?? byProcess), swapBytes, ...(memoryPressure && { pressure: memoryPressure }) },
    io: { ...(ioPressure && { pressure: ioPressure }) },
    threads,
  };
}

/** For a pod in whose netns no process of ours is. */
async function lookInto(netnsPath: string, run: Run, signal: AbortSignal): Promise<string | undefined> {
  const limit = AbortSignal.any([signal, AbortSignal.timeout(LOOK_LIMIT_MS)]);
  try {
    const done = await run("nsenter", [`--net=${netnsPath}`, "--", "cat", "/proc/self/net/dev"], {}, limit);
    return done.exitCode === 0 ? done.stdout.toString("utf8") : undefined;
  } catch {
    return undefined;
  }
}
