// Small things that pods and containers both need converted.

import type { LinuxContainerResources } from "../gen/runtime.ts";
import { invalid } from "../model/failure.ts";
import type { Resources } from "../model/resources.ts";

/** Nanoseconds since the epoch, as CRI wants times; 0 for "not yet". */
export const nanosOf = (ms: number | undefined): bigint => BigInt(Math.round(ms ?? 0)) * 1_000_000n;

/** A field that must be there. */
export function required<T>(value: T | undefined, field: string): T {
  if (value !== undefined && value !== "") return value;
  throw invalid(field, "must be set");
}

/** What a person typed, in one short line of a message. */
export const quoted = (text: string): string => JSON.stringify(text.length > 80 ? `${text.slice(0, 80)}…` : text);

/** Kubernetes' own longest name. */
const MAX_NAME_CHARS = 253;

/** A name that people, file systems and plugins are shown: without control characters, and no longer than a name is. */
export function nameOf(value: string, field: string): string {
  const name = required(value, field);
  if (name.length > MAX_NAME_CHARS) throw invalid(field, `${name.length} characters, at most ${MAX_NAME_CHARS}`);
  if (/\p{Cc}/u.test(name)) throw invalid(field, `${quoted(name)} has control characters`);
  return name;
}

/** Of the kernel, without the closing NUL. */
const MAX_PATH_BYTES = 4095;

/** True for what the kernel takes as a path. */
export const isPath = (text: string): boolean => !text.includes("\0") && Buffer.byteLength(text) <= MAX_PATH_BYTES;

/** Zero on the wire means "not said". */
export function resourcesOf(linux: LinuxContainerResources | undefined, field: string): Resources {
  if (!linux) return {};
  const number = (value: bigint, name: string): number => safeNumber(value, `${field}.${name}`);
  return {
    ...(linux.cpuPeriod !== 0n && { cpuPeriodUs: number(linux.cpuPeriod, "cpu_period") }),
    ...(linux.cpuQuota !== 0n && { cpuQuotaUs: number(linux.cpuQuota, "cpu_quota") }),
    ...(linux.cpuShares !== 0n && { cpuShares: number(linux.cpuShares, "cpu_shares") }),
    ...(linux.cpusetCpus !== "" && { cpusetCpus: linux.cpusetCpus }),
    ...(linux.cpusetMems !== "" && { cpusetMems: linux.cpusetMems }),
    ...(linux.memoryLimitInBytes !== 0n && {
      memoryLimitBytes: number(linux.memoryLimitInBytes, "memory_limit_in_bytes"),
    }),
  };
}

export function linuxResourcesOf(resources: Resources): LinuxContainerResources {
  return {
    cpuPeriod: BigInt(resources.cpuPeriodUs ?? 0),
    cpuQuota: BigInt(resources.cpuQuotaUs ?? 0),
    cpuShares: BigInt(resources.cpuShares ?? 0),
    memoryLimitInBytes: BigInt(resources.memoryLimitBytes ?? 0),
    oomScoreAdj: 0n,
    cpusetCpus: resources.cpusetCpus ?? "",
    cpusetMems: resources.cpusetMems ?? "",
    hugepageLimits: [],
    unified: {},
    memorySwapLimitInBytes: 0n,
  };
}

function safeNumber(value: bigint, field: string): number {
  const number = Number(value);
  if (Number.isSafeInteger(number)) return number;
  throw invalid(field, `${value} is not a size that a machine can have`);
}

/** True when every pair of the selector is in the labels. */
export function matchesLabels(
  labels: Readonly<Record<string, string>>,
  selector: Readonly<Record<string, string>> | undefined,
): boolean {
  return Object.entries(selector ?? {}).every(([key, value]) => labels[key] === value);
}

/** A list in pieces that stay far below gRPC's message limits; nothing for nothing. */
export function* inPieces<T>(items: readonly T[], pieceLength = 100): Generator<T[]> {
  for (let from = 0; from < items.length; from += pieceLength) yield items.slice(from, from + pieceLength);
}

/** The one id that starts with what a person typed, or the text itself. */
export function wholeId(typed: string, known: Iterable<string>): string {
  if (typed.length === 64 || typed === "") return typed;
  const hits = [...known].filter((id) => id.startsWith(typed));
  if (hits.length > 1) throw invalid("id", `"${typed}" is the beginning of ${hits.length} ids; give more characters`);
  return hits[0] ?? typed;
}
