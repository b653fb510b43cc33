// What machines and pods use: measured when somebody asks, and remembered for a moment, because many ask at once.

import { setImmediate as yieldToOthers } from "node:timers/promises";
import { isRecent } from "../lib/age.ts";
import type { MachineId } from "../model/ids.ts";
import type { MachineUsage, NetworkUsage } from "../model/usage.ts";
import type { Clock } from "../ports/clock.ts";
import type { Meter } from "../ports/meter.ts";
import type { MachineRecord, PodRecord, PodStore } from "../ports/pod-store.ts";
import type { Pods } from "./pods.ts";

export interface MachineStats {
  readonly machine: MachineRecord;
  /** Absent: it does not run. */
  readonly usage?: MachineUsage;
  /** CPU time per time between this measurement and the one before it. */
  readonly nanoCores?: number;
  /** Of its writable disk. */
  readonly disk?: { readonly mountpoint: string; readonly usedBytes: number; readonly usedInodes: number };
  readonly atMs: number;
}

export interface PodStats {
  readonly pod: PodRecord;
  readonly machines: readonly MachineStats[];
  readonly network?: NetworkUsage;
}

export interface StatsParts {
  readonly clock: Clock;
  readonly meter: Meter;
  readonly pods: Pick<Pods, "findMachine" | "machinesOf">;
  readonly store: Pick<PodStore, "mountpoint" | "pathsOf">;
}

/** A kubelet asks for containers and for pods in one breath, every ten seconds; others may ask more often. */
const FRESH_MS = 1_000;
/** A rate over more than this is history. */
const RATE_MAX_MS = 5 * 60_000;
/** Measured at once, between two turns of everybody else: one takes some 100 µs. */
const AT_ONCE = 10;

interface Sample {
  readonly stats: MachineStats;
  readonly overlayPath: string;
  readonly isRunning: boolean;
}

/** Nothing in here waits for libvirt or a guest. */
export class Stats {
  readonly #parts: StatsParts;
  readonly #samples = new Map<MachineId, Sample>();

  constructor(parts: StatsParts) {
    this.#parts = parts;
  }

  /** Those of `machines` that run, in order; one that ends meanwhile is left out. */
  async running(machines: readonly MachineRecord[]): Promise<readonly MachineStats[]> {
    return await this.#running(machines, await this.#begin());
  }

  /** Of each, with what can be told of it. */
  async of(machines: readonly MachineRecord[]): Promise<readonly MachineStats[]> {
    return await this.#measureAll(machines, await this.#begin());
  }

  async ofPods(wanted: readonly PodRecord[], signal: AbortSignal): Promise<readonly PodStats[]> {
    const { meter, pods } = this.#parts;
    const mountpoint = await this.#begin();
    return await inSlices(wanted, async (pod) => {
      const network = await meter.network(pod.facts, signal);
      signal.throwIfAborted();
      const machines = await this.#running(pods.machinesOf(pod.facts.podId), mountpoint);
      return { pod, machines, ...(network === undefined ? {} : { network }) };
    });
  }

  /** Once for each question, however many it is about. @returns where the machines' disks are. */
  async #begin(): Promise<string> {
    for (const machineId of this.#samples.keys()) {
      if (this.#parts.pods.findMachine(machineId) === undefined) this.#samples.delete(machineId);
    }
    return await this.#parts.store.mountpoint();
  }

  async #running(machines: readonly MachineRecord[], mountpoint: string): Promise<readonly MachineStats[]> {
    const all = await this.#measureAll(machines.filter(isRunning), mountpoint);
    return all.filter(({ usage }) => usage !== undefined);
  }

  async #measureAll(machines: readonly MachineRecord[], mountpoint: string): Promise<readonly MachineStats[]> {
    return await inSlices(machines, async (machine) => await this.#measure(machine, mountpoint));
  }

  async #measure(machine: MachineRecord, mountpoint: string): Promise<MachineStats> {
    const { machineId, podId } = machine.facts;
    const { clock, meter, store } = this.#parts;
    const last = this.#samples.get(machineId);
    const atMs = clock.nowMs();
    const isFresh = last !== undefined && isRecent(last.stats.atMs, atMs, FRESH_MS);
    if (isFresh && last.isRunning === isRunning(machine)) return { ...last.stats, machine };
    const overlayPath = last?.overlayPath ?? store.pathsOf(podId, machineId).overlayPath;
    const disk = await meter.disk(overlayPath);
    const usage = isRunning(machine) ? await meter.machine(machine.facts) : undefined;
    const nanoCores = rateOf(last?.stats.usage, usage);
    const stats: MachineStats = {
      machine,
      atMs,
      ...(usage === undefined ? {} : { usage }),
      ...(nanoCores === undefined ? {} : { nanoCores }),
      ...(disk === undefined ? {} : { disk: { mountpoint, ...disk } }),
    };
    this.#samples.set(machineId, { stats, overlayPath, isRunning: isRunning(machine) });
    return stats;
  }
}

const isRunning = ({ state }: MachineRecord): boolean => state.at === "running" || state.at === "stopping";

/** In order. What they wait for, such as a look at the disk, they wait for together. */
async function inSlices<Item, Result>(
  items: readonly Item[],
  work: (item: Item) => Promise<Result>,
): Promise<readonly Result[]> {
  const results: Result[] = [];
  for (let at = 0; at < items.length; at += AT_ONCE) {
    if (at > 0) await yieldToOthers();
    results.push(...(await Promise.all(items.slice(at, at + AT_ONCE).map(work))));
  }
  return results;
}

/** Undefined after a clock that jumped, and where there is nothing to compare. */
function rateOf(before: MachineUsage | undefined, now: MachineUsage | undefined): number | undefined {
  if (before === undefined || now === undefined) return undefined;
  const tookMs = now.atMs - before.atMs;
  const usedNanos = now.cpu.totalNanos - before.cpu.totalNanos;
  if (tookMs <= 0 || tookMs > RATE_MAX_MS || usedNanos < 0) return undefined;
  return Math.round((usedNanos / tookMs) * 1_000);
}
