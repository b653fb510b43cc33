// How much of a node a machine takes: guest memory, CPUs and the cgroup, from what the kubelet said.

import { invalid } from "./failure.ts";
import type { CpuPlan } from "./machine-plan.ts";
import { rangesIn } from "./number-set.ts";
import type { Resources } from "./resources.ts";

export interface SizingOptions {
  readonly defaultMemoryBytes: number;
  /** What QEMU needs beside the guest's memory. */
  readonly overheadBytes: number;
  readonly minMemoryBytes: number;
}

export interface SizingRequest {
  readonly resources: Resources;
  /** What the RuntimeClass set aside beside the containers' limits. */
  readonly overhead: Resources;
  /** Where the caller said it, for messages; CreateContainer's own place when absent. */
  readonly field?: string;
}

const MIB = 1 << 20;
const FIELD = "config.linux.resources";
const MAX_VCPUS = 255;
/** The kernel's own default, used where only a quota is said. */
const DEFAULT_PERIOD_US = 100_000;
/** What the kernel takes, and with it libvirt. */
const PERIOD_US = { least: 1_000, most: 1_000_000 };
/** The kernel's least, and libvirt's most. */
const QUOTA_US = { least: 1_000, most: 17_592_186_044_415 };
const SHARES = { least: 0, most: Number.MAX_SAFE_INTEGER };

/** @throws SPEC_INVALID naming the field, when the limit leaves too little for a guest. */
export function sizeMachine(
  request: SizingRequest,
  options: SizingOptions,
): { readonly memoryBytes: number; readonly cpu: CpuPlan } {
  return { memoryBytes: guestMemoryBytes(request, options), cpu: cpuPlanOf(request) };
}

/**
 * The pod's cgroup holds guest and QEMU both: limit + overhead. So the guest gets the limit, less what the overhead
 * leaves uncovered; whole MiB, because libvirt rounds up and the cgroup would not.
 */
function guestMemoryBytes({ resources, overhead, field = FIELD }: SizingRequest, options: SizingOptions): number {
  const limitBytes = resources.memoryLimitBytes;
  if (limitBytes === undefined || limitBytes < 0) return options.defaultMemoryBytes;
  const uncoveredBytes = Math.max(0, options.overheadBytes - (overhead.memoryLimitBytes ?? 0));
  const memoryBytes = Math.floor((limitBytes - uncoveredBytes) / MIB) * MIB;
  if (memoryBytes >= options.minMemoryBytes) return memoryBytes;
  throw invalid(
    `${field}.memory_limit_in_bytes`,
    `${mib(limitBytes)} less ${mib(uncoveredBytes)} that QEMU needs leaves ${mib(Math.max(0, memoryBytes))} for the guest, ` +
      `and ${mib(options.minMemoryBytes)} are the least; raise the limit, or let the RuntimeClass set ` +
      `overhead.podFixed.memory to ${mib(options.overheadBytes)}`,
  );
}

/** For people: whole MiB, rounded down. */
export const mib = (bytes: number): string => `${Math.floor(bytes / MIB)}Mi`;

/** @throws SPEC_INVALID naming the field. */
export function cpuPlanOf({ resources, field = FIELD }: Pick<SizingRequest, "resources" | "field">): CpuPlan {
  const { cpuPeriodUs, cpuQuotaUs, cpuShares, cpusetCpus = "", cpusetMems = "" } = resources;
  const isLimited = cpuQuotaUs !== undefined && cpuQuotaUs > 0;
  const periodUs = cpuPeriodUs ?? DEFAULT_PERIOD_US;
  checkRange(periodUs, PERIOD_US, `${field}.cpu_period`, " microseconds");
  if (isLimited) checkRange(cpuQuotaUs, QUOTA_US, `${field}.cpu_quota`, " microseconds; -1 is no limit");
  if (cpuShares !== undefined) checkRange(cpuShares, SHARES, `${field}.cpu_shares`, "");
  // A kubelet takes the quota from a container to which it gives CPUs of its own (CPU manager, static).
  const hasItsOwn = cpuQuotaUs !== undefined && cpuQuotaUs < 0 && cpusetCpus !== "";
  const wanted = isLimited ? Math.ceil(cpuQuotaUs / periodUs) : hasItsOwn ? countIn(cpusetCpus) : 1;
  return {
    count: Math.min(MAX_VCPUS, Math.max(1, wanted)),
    ...(cpuShares === undefined ? {} : { shares: cpuShares }),
    ...(isLimited ? { periodUs, quotaUs: cpuQuotaUs } : {}),
    ...(cpusetCpus === "" ? {} : { cpuset: checkedSet(cpusetCpus, `${field}.cpuset_cpus`, "CPUs") }),
    ...(cpusetMems === "" ? {} : { memoryNodes: checkedSet(cpusetMems, `${field}.cpuset_mems`, "memory nodes") }),
  };
}

function checkRange(
  value: number,
  { least, most }: { readonly least: number; readonly most: number },
  field: string,
  ofWhat: string,
): void {
  if (value < least || value > most) throw invalid(field, `${value} is not from ${least} to ${most}${ofWhat}`);
}

const countIn = (set: string): number => rangesIn(set).reduce((sum, { first, last }) => sum + last - first + 1, 0);

function checkedSet(text: string, field: string, ofWhat: string): string {
  const isList = /^\d{1,4}(-\d{1,4})?(,\d{1,4}(-\d{1,4})?)*$/.test(text);
  if (isList && rangesIn(text).every(({ first, last }) => first <= last)) return text;
  throw invalid(field, `"${text.slice(0, 80)}" is no list of ${ofWhat} such as 0-2,5`);
}

export interface CgroupFacts {
  /** systemd-machined registers the node's machines. */
  readonly hasMachined: boolean;
  /** Whether the cgroup is there in every mounted hierarchy. */
  readonly exists: (cgroupPath: string) => boolean;
}

/** No folder has a longer name; a slice's is spelled once for each of its dashes. */
const CGROUP_PARENT = /^\/?[A-Za-z0-9_.:-]{1,255}(\/[A-Za-z0-9_.:-]{1,255})*$/;

/** The path of a pod's cgroup below the root of each hierarchy; undefined when it has none, or none that may be walked. */
export function cgroupPathOf(cgroupParent: string): string | undefined {
  if (!CGROUP_PARENT.test(cgroupParent) || cgroupParent.includes("..")) return undefined;
  const parts = cgroupParent.split("/").filter((part) => part !== "");
  return `/${(isSystemds(parts) ? parts.flatMap(parentsOf) : parts).join("/")}`;
}

/**
 * libvirt's name for the pod's cgroup, or undefined where libvirt's default must do. libvirt appends `.partition` to
 * a path component without a dot and, with machined, spells a slice as its components.
 */
export function partitionOf(cgroupParent: string, { hasMachined, exists }: CgroupFacts): string | undefined {
  const path = cgroupPathOf(cgroupParent);
  const slices = cgroupParent.split("/").filter((part) => part !== "");
  if (path === undefined || !isSystemds(slices)) return undefined; // see cgroupPathToMoveInto
  if (hasMachined) return `/${(slices.at(-1) ?? "").replace(/\.slice$/, "").replaceAll("-", "/")}`;
  return exists(path) ? path : undefined;
}

/** The pod's cgroup where libvirt cannot be told of it, as cgroupfs's names have no dots: its QEMU is moved there by us. */
export function cgroupPathToMoveInto(cgroupParent: string): string | undefined {
  const isSlice = isSystemds(cgroupParent.split("/").filter((part) => part !== ""));
  return isSlice ? undefined : cgroupPathOf(cgroupParent);
}

const isSystemds = (parts: readonly string[]): boolean => parts.every((part) => part.endsWith(".slice"));

/** `a-b.slice` lies in `a.slice`: systemd's way of spelling a tree in one name. */
function parentsOf(slice: string, index: number, all: readonly string[]): string[] {
  if (index < all.length - 1 || all.length > 1) return [slice];
  const parts = slice.replace(/\.slice$/, "").split("-");
  return parts.map((_, count) => `${parts.slice(0, count + 1).join("-")}.slice`);
}
