// What machines and pods use <-> CRI's statistics.

import type { MachineStats, PodStats } from "../engine/stats.ts";
import { resourcesInForce } from "../engine/update-machine.ts";
import type {
  ContainerStats,
  CpuUsage,
  LinuxPodSandboxStats,
  MemoryUsage,
  NetworkInterfaceUsage,
  PodSandboxStats,
  PsiStats,
  UInt64Value,
} from "../gen/runtime.ts";
import { isTapName } from "../model/machine-plan.ts";
import type { InterfaceUsage, MachineUsage, NetworkUsage, Pressure, PressureLine } from "../model/usage.ts";
import { nanosOf } from "./convert-shared.ts";

/** The interface that CNI made for the pod. */
const DEFAULT_INTERFACE = "eth0";

export function containerStatsOf({ machine, usage, nanoCores, disk, atMs }: MachineStats): ContainerStats {
  const { machineId, spec } = machine.facts;
  return {
    attributes: {
      id: machineId,
      metadata: { name: spec.name, attempt: spec.attempt },
      labels: spec.labels,
      annotations: spec.annotations,
    },
    cpu: usage && cpuOf(usage, nanoCores),
    memory: usage && memoryOf(usage, resourcesInForce(machine).memoryLimitBytes),
    writableLayer: disk && {
      timestamp: nanosOf(atMs),
      fsId: { mountpoint: disk.mountpoint },
      usedBytes: uint64(disk.usedBytes),
      inodesUsed: uint64(disk.usedInodes),
    },
    swap: usage && {
      timestamp: nanosOf(usage.atMs),
      swapAvailableBytes: undefined,
      swapUsageBytes: uint64(usage.memory.swapBytes),
    },
    io: usage && { timestamp: nanosOf(usage.atMs), psi: psiOf(usage.io.pressure) },
  };
}

export function podSandboxStatsOf({ pod, machines, network }: PodStats): PodSandboxStats {
  const { podId, spec } = pod.facts;
  return {
    attributes: {
      id: podId,
      metadata: { name: spec.name, namespace: spec.namespace, uid: spec.uid, attempt: spec.attempt },
      labels: spec.labels,
      annotations: spec.annotations,
    },
    linux: {
      ...ofTheOneMachine(machines),
      network: network && networkOf(network),
      containers: machines.map(containerStatsOf),
    },
    windows: undefined,
  };
}

/** A pod runs one machine at a time, so what that uses the pod does. */
function ofTheOneMachine([running]: readonly MachineStats[]): Pick<
  LinuxPodSandboxStats,
  "cpu" | "memory" | "process" | "io"
> {
  const { usage, nanoCores, machine } = running ?? {};
  if (usage === undefined) return { cpu: undefined, memory: undefined, process: undefined, io: undefined };
  return {
    cpu: cpuOf(usage, nanoCores),
    memory: memoryOf(usage, machine && resourcesInForce(machine).memoryLimitBytes),
    process: { timestamp: nanosOf(usage.atMs), processCount: uint64(usage.threads) },
    io: { timestamp: nanosOf(usage.atMs), psi: psiOf(usage.io.pressure) },
  };
}

function cpuOf({ atMs, cpu }: MachineUsage, nanoCores: number | undefined): CpuUsage {
  return {
    timestamp: nanosOf(atMs),
    usageCoreNanoSeconds: uint64(cpu.totalNanos),
    usageNanoCores: nanoCores === undefined ? undefined : uint64(nanoCores),
    psi: psiOf(cpu.pressure),
  };
}

function memoryOf({ atMs, memory }: MachineUsage, limitBytes: number | undefined): MemoryUsage {
  const isLimited = limitBytes !== undefined && limitBytes > 0;
  return {
    timestamp: nanosOf(atMs),
    workingSetBytes: uint64(memory.workingSetBytes),
    availableBytes: isLimited ? uint64(Math.max(0, limitBytes - memory.workingSetBytes)) : undefined,
    usageBytes: uint64(memory.usageBytes),
    rssBytes: uint64(memory.rssBytes),
    pageFaults: uint64(memory.pageFaults),
    majorPageFaults: uint64(memory.majorPageFaults),
    psi: psiOf(memory.pressure),
  };
}

/** Nothing of a pod that has lost its interface: a kubelet that is told of a network without one does not survive it. */
function networkOf({ atMs, interfaces }: NetworkUsage): LinuxPodSandboxStats["network"] {
  const own = interfaces.find(({ name }) => name === DEFAULT_INTERFACE);
  if (own === undefined) return undefined;
  // The machine's tap has the same packets once more.
  const others = interfaces.filter(({ name }) => name !== DEFAULT_INTERFACE && !isTapName(name));
  return {
    timestamp: nanosOf(atMs),
    defaultInterface: interfaceOf(own),
    interfaces: others.map(interfaceOf),
  };
}

const interfaceOf = ({ name, rxBytes, rxErrors, txBytes, txErrors }: InterfaceUsage): NetworkInterfaceUsage => ({
  name,
  rxBytes: uint64(rxBytes),
  rxErrors: uint64(rxErrors),
  txBytes: uint64(txBytes),
  txErrors: uint64(txErrors),
});

function psiOf(pressure: Pressure | undefined): PsiStats | undefined {
  return pressure && { Full: psiLineOf(pressure.full), Some: psiLineOf(pressure.some) };
}

const psiLineOf = ({ totalUs, avg10, avg60, avg300 }: PressureLine): PsiStats["Full"] => ({
  Total: BigInt(totalUs) * 1_000n, // nanoseconds, as the kubelet takes them
  Avg10: avg10,
  Avg60: avg60,
  Avg300: avg300,
});

const uint64 = (value: number): UInt64Value => ({ value: BigInt(Math.round(value)) });
