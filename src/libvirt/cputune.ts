// A machine's CPU limits in libvirt's words: the same in a definition and for a domain that runs.

import type { CpuPlan } from "../model/machine-plan.ts";

/** libvirt refuses less than 2 on cgroup v1 and, as it writes shares to cpu.weight as they are, more than 10000 on v2. */
const MIN_SHARES = 2;
const MAX_SHARES = 10_000;

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
