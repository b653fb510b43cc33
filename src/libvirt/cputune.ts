// A machine's CPU limits in libvirt's words: the same in a definition and for a domain that runs.

import { failsWith, invalid } from "../model/failure.ts";
import type { CpuPlan } from "../model/machine-plan.ts";
import { rangesIn } from "../model/number-set.ts";
import type { TypedParam } from "./client/messages.ts";
import { LIBVIRT_ERROR } from "./errors.ts";

/** libvirt refuses less than 2 on cgroup v1 and, as it writes shares to cpu.weight as they are, more than 10000 on v2. */
const MIN_SHARES = 2;
const MAX_SHARES = 10_000;
/** VIR_DOMAIN_NUMATUNE_MEM_RESTRICTIVE: by the cgroup alone, and so the only one that a running machine can change. */
const NUMA_RESTRICTIVE = 3;
/** What libvirt takes for "no limit" of a machine that runs. */
const NO_QUOTA = -1;

export interface Cputune {
  readonly shares: number | undefined;
  /** Microseconds, for the whole of QEMU: libvirt's period and quota without `global` are for each vCPU. */
  readonly globalPeriod: number | undefined;
  readonly globalQuota: number | undefined;
}

export function cputuneOf({ shares, periodUs, quotaUs }: Omit<CpuPlan, "count">): Cputune {
  const isLimited = quotaUs !== undefined && quotaUs > 0;
  return {
    shares: shares === undefined ? undefined : Math.min(MAX_SHARES, Math.max(MIN_SHARES, shares)),
    globalPeriod: isLimited ? periodUs : undefined,
    globalQuota: isLimited ? quotaUs : undefined,
  };
}

export function schedulerParamsOf(cpu: CpuPlan): readonly TypedParam[] {
  const { shares, globalPeriod, globalQuota = NO_QUOTA } = cputuneOf(cpu);
  const ulong = (field: string, value: number | undefined): readonly TypedParam[] =>
    value === undefined ? [] : [{ field, value: { type: "ullong", value: BigInt(value) } }];
  return [
    ...ulong("cpu_shares", shares),
    ...ulong("global_period", globalPeriod),
    { field: "global_quota", value: { type: "llong", value: BigInt(globalQuota) } },
  ];
}

export function nodesetParamsOf(nodes: string): readonly TypedParam[] {
  return [
    { field: "numa_nodeset", value: { type: "string", value: nodes } },
    { field: "numa_mode", value: { type: "int", value: NUMA_RESTRICTIVE } },
  ];
}

/** A bit for each CPU, the first in the lowest bit of the first byte. @param cpuset `0-2,5`, each below 10,000 */
export function cpumapOf(cpuset: string): Uint8Array {
  const ranges = rangesIn(cpuset);
  const highest = Math.max(...ranges.map(({ last }) => last));
  const map = new Uint8Array(Math.floor(highest / 8) + 1);
  for (const { first, last } of ranges)
    for (let cpu = first; cpu <= last; cpu += 1) map[cpu >> 3] = (map[cpu >> 3] ?? 0) | (1 << (cpu & 7));
  return map;
}

/** Applies a set, if there is one; what libvirt or the kernel will not have is the caller's mistake. */
export async function namingField(
  field: string,
  set: string | undefined,
  apply: (set: string) => Promise<void>,
): Promise<void> {
  if (set === undefined) return;
  try {
    await apply(set);
  } catch (error) {
    const { configUnsupported, invalidArgument, operationInvalid, systemError } = LIBVIRT_ERROR;
    const refusals: readonly number[] = [configUnsupported, invalidArgument, operationInvalid, systemError];
    if (!failsWith(error, "HYPERVISOR_FAILED")) throw error;
    if (!refusals.includes(error.failure.libvirtCode)) throw error;
    throw invalid(field, `"${set}" is not what this node can give: ${error.message}`, { cause: error });
  }
}
