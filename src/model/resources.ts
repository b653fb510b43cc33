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
