// CPU and memory as the kubelet says them; absent means "not said".

export interface Resources {
  readonly cpuPeriodUs?: number;
  /** Negative: no limit. */
  readonly cpuQuotaUs?: number;
  readonly cpuShares?: number;
  readonly cpusetCpus?: string;
  readonly cpusetMems?: string;
  readonly memoryLimitBytes?: number;
}

/** What holds after a change that names some of it. */
export const changed = (before: Resources, change: Resources): Resources => ({ ...before, ...change });
