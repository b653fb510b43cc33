// The use cases as one value: what the CRI face and recovery call.

import { KeyedLock } from "../lib/keyed-lock.ts";
import type { MachineId, PodId } from "../model/ids.ts";
import type { MachineSpec } from "../model/machine.ts";
import type { PodSpec } from "../model/pod.ts";
import type { Resources } from "../model/resources.ts";
import type { Clock } from "../ports/clock.ts";
import type { GuestOutput } from "../ports/guest-exec.ts";
import type { ImageStore } from "../ports/image-store.ts";
import type { StoredPods } from "../ports/pod-store.ts";
import type { StreamsWanted } from "../ports/streaming.ts";
import { createMachine } from "./create-machine.ts";
import { type DiskUsage, diskUsageOf } from "./disk-usage.ts";
import { execSync } from "./exec-sync.ts";
import { GuestReports } from "./guest-reports.ts";
import { type Health, hypervisorHealth } from "./health.ts";
import { openAttach, openExec, openPortForward, untilEnded } from "./open-streams.ts";
import type { EngineOptions, Parts, Ports } from "./parts.ts";
import { PodEvents } from "./pod-events.ts";
import { Pods } from "./pods.ts";
import { reconcile, reconcileUntilDone } from "./recover.ts";
import { removeMachine } from "./remove-machine.ts";
import { removePod } from "./remove-pod.ts";
import { reopenLog } from "./reopen-log.ts";
import { retryStops } from "./retry-stops.ts";
import { runPod } from "./run-pod.ts";
import { startMachine } from "./start-machine.ts";
import { Stats } from "./stats.ts";
import { stopMachine } from "./stop-machine.ts";
import { stopPod } from "./stop-pod.ts";
import { updateMachine } from "./update-machine.ts";
import { watchMachines } from "./watch-machines.ts";

export interface Engine {
  readonly clock: Clock;
  readonly images: ImageStore;
  readonly pods: Pods;
  readonly events: PodEvents;
  readonly stats: Stats;
  readonly guestReports: Pick<GuestReports, "latest">;
  runPod(spec: PodSpec, signal: AbortSignal): Promise<PodId>;
  stopPod(podId: PodId, signal: AbortSignal): Promise<void>;
  removePod(podId: PodId, signal: AbortSignal): Promise<void>;
  createMachine(podId: PodId, spec: MachineSpec, signal: AbortSignal): Promise<MachineId>;
  startMachine(machineId: MachineId, signal: AbortSignal): Promise<void>;
  stopMachine(machineId: MachineId, graceMs: number, signal: AbortSignal): Promise<void>;
  updateMachine(machineId: MachineId, change: Resources, signal: AbortSignal): Promise<void>;
  removeMachine(machineId: MachineId, signal: AbortSignal): Promise<void>;
  reopenLog(machineId: MachineId, signal: AbortSignal): Promise<void>;
  execSync(
    machineId: MachineId,
    command: { readonly argv: readonly string[]; readonly limitMs?: number },
    signal: AbortSignal,
  ): Promise<GuestOutput>;
  /** URLs, see `Streaming`. */
  openExec(
    machineId: MachineId,
    command: { readonly argv: readonly string[]; readonly wanted: StreamsWanted },
    signal: AbortSignal,
  ): Promise<string>;
  openAttach(machineId: MachineId, wanted: StreamsWanted, signal: AbortSignal): Promise<string>;
  openPortForward(podId: PodId, ports: readonly number[], signal: AbortSignal): Promise<string>;
  untilEnded(
    subject: { readonly machineId: MachineId } | { readonly podId: PodId },
    signal: AbortSignal,
  ): Promise<void>;
  health(signal: AbortSignal): Promise<Health>;
  networkStatus: Ports["network"]["status"];
  diskUsage(): Promise<DiskUsage>;
}

/** What `Engine` needs to be alive: watching, and making up for what happened while nobody watched. */
export interface LivingEngine extends AsyncDisposable {
  readonly engine: Engine;
  /**
   * Makes records, libvirt and the kernel agree, as far as one try can; goes on in the background with what is left,
   * also when it throws, and whenever libvirtd comes back.
   */
  recover(signal: AbortSignal): Promise<void>;
}

export function createEngine(ports: Ports, options: EngineOptions, stored: StoredPods): LivingEngine {
  const parts: Parts = { ...ports, options, pods: new Pods(ports.store, stored), locks: new KeyedLock() };
  const watch = watchMachines(parts, async (signal) => await reconcileUntilDone(parts, signal));
  const retries = retryStops(parts);
  const guestReports = new GuestReports(parts);
  const bind =
    <Args extends unknown[], Result>(useCase: (parts: Parts, ...args: Args) => Result) =>
    (...args: Args): Result =>
      useCase(parts, ...args);
  return {
    engine: {
      clock: parts.clock,
      images: parts.images,
      pods: parts.pods,
      events: new PodEvents(parts),
      stats: new Stats(parts),
      guestReports,
      runPod: bind(runPod),
      stopPod: bind(stopPod),
      removePod: bind(removePod),
      createMachine: bind(createMachine),
      startMachine: bind(startMachine),
      stopMachine: bind(stopMachine),
      updateMachine: bind(updateMachine),
      removeMachine: bind(removeMachine),
      reopenLog: bind(reopenLog),
      execSync: bind(execSync),
      openExec: bind(openExec),
      openAttach: bind(openAttach),
      openPortForward: bind(openPortForward),
      untilEnded: bind(untilEnded),
      health: bind(hypervisorHealth),
      networkStatus: async () => await parts.network.status(),
      diskUsage: diskUsageOf(parts),
    },
    recover: async (signal) => {
      let isDone = false;
      try {
        isDone = (await reconcile(parts, signal)).length === 0;
      } finally {
        if (!isDone && !signal.aborted) watch.recover();
      }
    },
    [Symbol.asyncDispose]: async () => {
      await guestReports[Symbol.asyncDispose]();
      await retries[Symbol.asyncDispose]();
      await watch[Symbol.asyncDispose]();
    },
  };
}
