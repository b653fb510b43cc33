// CPU limits as files of a cgroup: what libvirt would have written, and the kubelet writes for containers.

import { readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { errorCodeOf } from "../lib/error-code.ts";
import { invalid } from "../model/failure.ts";
import type { CpuLimits } from "../ports/machine-cgroups.ts";
import { has } from "./pod-cgroup.ts";

const SHARES = { least: 2, most: 262_144 };
/** The kernel's own. */
const DEFAULT_PERIOD_US = 100_000;
/** What the kernel says of a value that it will not have, or that the group above has not. */
const REFUSALS: readonly (string | undefined)[] = ["EACCES", "EINVAL", "ENOSPC", "ERANGE"];

/**
 * Into whichever of its files the group has.
 * @throws SPEC_INVALID naming the field whose value the kernel refused.
 */
export async function writeCpuLimits(folder: string, cpu: CpuLimits): Promise<void> {
  for (const [name, field, value] of filesOf(cpu)) {
    const path = join(folder, name);
    if (!(await has(path))) continue;
    try {
      await writeFile(path, value);
    } catch (error) {
      if (!REFUSALS.includes(errorCodeOf(error))) throw error;
      throw invalid(`linux.${field}`, `"${value}" is not what the pod's cgroup can give: ${path}`, { cause: error });
    }
  }
}

/** v2: the controllers that the group above has are for those below, too; a kubelet says so with its first container only. */
export async function passControllersOn(podFolder: string): Promise<void> {
  const offered = await readFile(join(podFolder, "cgroup.controllers"), "utf8").catch(() => "");
  for (const name of offered.split(/\s+/).filter((word) => word !== ""))
    await writeFile(join(podFolder, "cgroup.subtree_control"), `+${name}`).catch(() => {}); // the others may do
}

/** In an order in which the kernel takes them: with no quota any period will do. */
function filesOf({ shares, periodUs = DEFAULT_PERIOD_US, quotaUs = -1, cpuset, memoryNodes }: CpuLimits) {
  const isLimited = quotaUs > 0;
  const files: (readonly [name: string, field: string, value: string | undefined])[] = [
    ["cpu.shares", "cpu_shares", shares === undefined ? undefined : `${clamped(shares)}`],
    ["cpu.weight", "cpu_shares", shares === undefined ? undefined : `${weightOf(shares)}`],
    ["cpu.cfs_quota_us", "cpu_quota", "-1"],
    ["cpu.cfs_period_us", "cpu_period", isLimited ? `${periodUs}` : undefined],
    ["cpu.cfs_quota_us", "cpu_quota", isLimited ? `${quotaUs}` : undefined],
    ["cpu.max", "cpu_quota", isLimited ? `${quotaUs} ${periodUs}` : "max"],
    ["cpuset.cpus", "cpuset_cpus", cpuset],
    ["cpuset.mems", "cpuset_mems", memoryNodes],
  ];
  return files.flatMap(([name, field, value]) => (value === undefined ? [] : [[name, field, value] as const]));
}

const clamped = (shares: number): number => Math.min(SHARES.most, Math.max(SHARES.least, shares));

/** As the kubelet and runc translate them: 2 to 262144 becomes 1 to 10000. */
const weightOf = (shares: number): number => 1 + Math.floor(((clamped(shares) - SHARES.least) * 9_999) / 262_142);
