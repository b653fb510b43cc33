// What one process used, from /proc. These files are made in memory as they are read, without waiting for the process.

import { readFileSync } from "node:fs";

export interface ProcessUsage {
  /** Clock ticks between the machine's boot and the process's start: tells a pid from its next owner. */
  readonly startTicks: number;
  readonly cpuNanos: number;
  readonly pageFaults: number;
  readonly majorPageFaults: number;
  readonly rssBytes: number;
  readonly swapBytes: number;
  readonly threads: number;
}

/** What the kernel tells programs whatever its own clock: 100 a second. */
const NANOS_PER_TICK = 10_000_000;

/** Undefined when it is gone, or a zombie. */
export function readProcessUsage(pid: number): ProcessUsage | undefined {
  const stat = readOr(`/proc/${pid}/stat`);
  const status = readOr(`/proc/${pid}/status`);
  return stat === undefined || status === undefined ? undefined : processUsageOf(stat, status);
}

/** @see proc(5) */
export function processUsageOf(stat: string, status: string): ProcessUsage | undefined {
  // The name may have spaces and parentheses; fields are counted from 1, and what follows it is field 3.
  const fields = stat.slice(stat.lastIndexOf(")") + 2).split(" ");
  const field = (number: number): number => Number(fields[number - 3]);
  const [, rssKiB] = /^VmRSS:\s+(\d+) kB$/m.exec(status) ?? [];
  if (rssKiB === undefined) return undefined; // a zombie has no memory
  const [, swapKiB = "0"] = /^VmSwap:\s+(\d+) kB$/m.exec(status) ?? [];
  return {
    startTicks: field(22),
    cpuNanos: (field(14) + field(15)) * NANOS_PER_TICK,
    pageFaults: field(10),
    majorPageFaults: field(12),
    rssBytes: Number(rssKiB) * 1024,
    swapBytes: Number(swapKiB) * 1024,
    threads: field(20),
  };
}

export function readOr(path: string): string | undefined {
  try {
    return readFileSync(path, "utf8");
  } catch {
    return undefined; // not there, or gone while we looked
  }
}
