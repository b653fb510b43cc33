// What a QEMU's own cgroup used: more than its process, because the kernel charges it with file cache, too.

import { join } from "node:path";
import type { Pressure, PressureLine } from "../model/usage.ts";
import { mountsIn } from "./mounts.ts";
import { readOr } from "./process-usage.ts";

export interface CgroupUsage {
  readonly cpuNanos?: number;
  readonly cpuPressure?: Pressure;
  readonly memory?: {
    readonly usageBytes: number;
    readonly workingSetBytes: number;
    readonly rssBytes: number;
    readonly pageFaults: number;
    readonly majorPageFaults: number;
  };
  readonly memoryPressure?: Pressure;
  readonly ioPressure?: Pressure;
}

/** Folders of one cgroup in the hierarchies that count; v1 has one for each, v2 the same for all. */
export interface CgroupFolders {
  readonly cpu?: { readonly path: string; readonly version: 1 | 2 };
  readonly memory?: { readonly path: string; readonly version: 1 | 2 };
  /** Only v2 tells of pressure. */
  readonly pressurePath?: string;
}

/** Where hierarchies are mounted: `v2`, or the name of a v1 controller. */
export type CgroupMounts = ReadonlyMap<string, string>;

/** Out of lines such as `cgroup /sys/fs/cgroup/cpu cgroup rw,cpu 0 0`. */
export function cgroupMountsOf(mounts: string): CgroupMounts {
  const found = new Map<string, string>();
  for (const { path, type, options } of mountsIn(mounts)) {
    if (type === "cgroup2") found.set("v2", path);
    if (type === "cgroup") for (const controller of options) found.set(controller, path);
  }
  return found;
}

/** Ours of one machine, in its pod's. */
export const MACHINE_CGROUP = "vmlet-machine";
/** libvirt's cgroup of one domain; its threads may be in others below. */
const LIBVIRT_CGROUP = /^(?:\.?.*\.libvirt-qemu|machine-qemu.*\.scope)$/;

/**
 * The folders of the cgroup that is this QEMU's alone.
 * @param ownCgroups Content of `/proc/<pid>/cgroup`: lines such as `4:memory:/machine/qemu-1-vm.libvirt-qemu`.
 */
export function ownCgroupFolders(ownCgroups: string, mounts: CgroupMounts): CgroupFolders {
  // Shared with others: their figures are not this machine's.
  const paths = pathsUpTo((name) => name === MACHINE_CGROUP || LIBVIRT_CGROUP.test(name), ownCgroups);
  const folder = (controller: string): { readonly path: string; readonly version: 1 | 2 } | undefined => {
    for (const [name, version] of [[controller, 1] as const, ["v2", 2] as const]) {
      const [mount, path] = [mounts.get(name), paths.get(name)];
      if (mount !== undefined && path !== undefined) return { path: join(mount, path), version };
    }
    return undefined;
  };
  // Where v1 counts a controller's things v2 has the cgroup all the same, and counts its CPU time.
  const [cpu, memory, v2] = [folder("cpuacct"), folder("memory"), folder("v2")];
  return { ...(cpu && { cpu }), ...(memory && { memory }), ...(v2 && { pressurePath: v2.path }) };
}

/** The folders of the cgroups in which libvirt began a QEMU and in which that is still. */
export function libvirtCgroupFolders(ownCgroups: string, mounts: CgroupMounts): string[] {
  const paths = pathsUpTo((name) => LIBVIRT_CGROUP.test(name), ownCgroups);
  const folders = [...paths].flatMap(([name, path]) => {
    const mount = mounts.get(name);
    return mount === undefined ? [] : [join(mount, path)];
  });
  return [...new Set(folders)];
}

/** Of each hierarchy in whose path such a name is, the path as far as that. */
function pathsUpTo(isWanted: (name: string) => boolean, ownCgroups: string): Map<string, string> {
  const paths = new Map<string, string>();
  for (const line of ownCgroups.split("\n")) {
    const [, controllers = "", path = ""] = /^\d+:([^:]*):(.*)$/.exec(line) ?? [];
    const parts = path.split("/");
    const own = parts.findIndex(isWanted);
    if (own < 0) continue;
    for (const name of controllers === "" ? ["v2"] : controllers.split(","))
      paths.set(name, parts.slice(0, own + 1).join("/"));
  }
  return paths;
}

/** What is not there is left out. */
export function readCgroupUsage({ cpu, memory, pressurePath }: CgroupFolders): CgroupUsage {
  const pressure = (of: string): Pressure | undefined =>
    pressurePath === undefined ? undefined : pressureIn(join(pressurePath, `${of}.pressure`));
  const usage = {
    cpuNanos: cpu && cpuNanosIn(cpu.path, cpu.version),
    cpuPressure: pressure("cpu"),
    memory: memory && memoryIn(memory.path, memory.version),
    memoryPressure: pressure("memory"),
    ioPressure: pressure("io"),
  };
  return Object.fromEntries(Object.entries(usage).filter(([, value]) => value !== undefined));
}

function cpuNanosIn(path: string, version: 1 | 2): number | undefined {
  if (version === 1) return numberOf(readOr(join(path, "cpuacct.usage")));
  const micros = fieldsOf(readOr(join(path, "cpu.stat")))("usage_usec");
  return micros === undefined ? undefined : micros * 1000;
}

function memoryIn(path: string, version: 1 | 2): CgroupUsage["memory"] {
  const usageBytes = numberOf(readOr(join(path, version === 1 ? "memory.usage_in_bytes" : "memory.current")));
  const field = fieldsOf(readOr(join(path, "memory.stat")));
  const prefix = version === 1 ? "total_" : ""; // of the cgroup and those below it
  const idleBytes = field(`${prefix}inactive_file`);
  const rssBytes = field(version === 1 ? "total_rss" : "anon");
  if (usageBytes === undefined || idleBytes === undefined || rssBytes === undefined) return undefined;
  return {
    usageBytes,
    workingSetBytes: Math.max(0, usageBytes - idleBytes),
    rssBytes,
    pageFaults: field(`${prefix}pgfault`) ?? 0,
    majorPageFaults: field(`${prefix}pgmajfault`) ?? 0,
  };
}

const PRESSURE_LINE = /^(some|full) avg10=([\d.]+) avg60=([\d.]+) avg300=([\d.]+) total=(\d+)$/gm;

function pressureIn(path: string): Pressure | undefined {
  const lines: { some?: PressureLine; full?: PressureLine } = {};
  for (const [, name, avg10, avg60, avg300, totalUs] of (readOr(path) ?? "").matchAll(PRESSURE_LINE))
    lines[name as "some" | "full"] = {
      avg10: Number(avg10),
      avg60: Number(avg60),
      avg300: Number(avg300),
      totalUs: Number(totalUs),
    };
  // Older kernels know no "full" for the CPU.
  const { some, full = { avg10: 0, avg60: 0, avg300: 0, totalUs: 0 } } = lines;
  return some && { some, full };
}

/** Lines of a name, a space and a number: dozens of which few are wanted. */
function fieldsOf(text: string | undefined): (name: string) => number | undefined {
  const lines = `\n${text ?? ""}`;
  return (name) => {
    const start = lines.indexOf(`\n${name} `);
    if (start === -1) return undefined;
    const valueAt = start + name.length + 2;
    const end = lines.indexOf("\n", valueAt);
    return numberOf(lines.slice(valueAt, end === -1 ? undefined : end));
  };
}

function numberOf(text: string | undefined): number | undefined {
  return text !== undefined && /^\d+\s*$/.test(text) ? Number(text) : undefined;
}
