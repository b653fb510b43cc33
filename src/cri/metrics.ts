// The statistics once more, as the metrics that cAdvisor made popular: the kubelet's /metrics/cadvisor shows them.

import type { GuestReport } from "../engine/guest-reports.ts";
import type { MachineStats, PodStats } from "../engine/stats.ts";
import { resourcesInForce } from "../engine/update-machine.ts";
import {
  type ContainerMetrics,
  type Metric,
  type MetricDescriptor,
  MetricType,
  type PodSandboxMetrics,
} from "../gen/runtime.ts";
import type { MachineId } from "../model/ids.ts";
import { isTapName } from "../model/machine-plan.ts";
import type { InterfaceUsage, MachineUsage, Pressure } from "../model/usage.ts";
import type { GuestFilesystem } from "../ports/guest-filesystems.ts";
import type { GuestMemory } from "../ports/hypervisor.ts";
import { nanosOf } from "./convert-shared.ts";

/** Of every metric; dashboards join by the last three. */
const LABELS = ["id", "name", "image", "container", "pod", "namespace"] as const;
const INTERFACE_LABELS = [...LABELS, "interface"];
const FILESYSTEM_LABELS = [...LABELS, "mountpoint", "fstype"];
const FAILURE_LABELS = [...LABELS, "failure_type", "scope"];

interface Measure<Of> {
  readonly name: string;
  readonly help: string;
  readonly type: MetricType;
  readonly labelKeys: readonly string[];
  /** What comes behind the labels that all have. */
  readonly labels?: (of: Of) => readonly string[];
  /** Undefined: nobody knows. The interface has room for whole numbers only. */
  readonly value: (of: Of) => number | undefined;
}

interface Machine {
  readonly stats: MachineStats;
  readonly usage: MachineUsage;
}

const { COUNTER, GAUGE } = MetricType;
const seconds = (pressure: Pressure | undefined, line: keyof Pressure): number | undefined =>
  pressure && pressure[line].totalUs / 1e6;

const ofMachine = (
  type: MetricType,
  name: string,
  help: string,
  value: (of: Machine) => number | undefined,
): Measure<Machine> => ({ name: `container_${name}`, help, type, labelKeys: LABELS, value });

const pageFaults = (failure: string, value: (usage: MachineUsage) => number): Measure<Machine> => ({
  name: "container_memory_failures_total",
  help: "Page faults of the VM's process.",
  type: COUNTER,
  labelKeys: FAILURE_LABELS,
  labels: () => [failure, "container"],
  value: ({ usage }) => value(usage),
});

const MACHINE_MEASURES: readonly Measure<Machine>[] = [
  ofMachine(
    COUNTER,
    "cpu_usage_seconds_total",
    "CPU time of the VM, its guest included.",
    ({ usage }) => usage.cpu.totalNanos / 1e9,
  ),
  ofMachine(GAUGE, "memory_usage_bytes", "Memory in use, file cache included.", ({ usage }) => usage.memory.usageBytes),
  ofMachine(
    GAUGE,
    "memory_working_set_bytes",
    "Memory that cannot be taken back without hurting the VM.",
    ({ usage }) => usage.memory.workingSetBytes,
  ),
  ofMachine(GAUGE, "memory_rss", "Resident memory of the VM's process.", ({ usage }) => usage.memory.rssBytes),
  ofMachine(
    GAUGE,
    "memory_swap",
    "Memory of the VM's process that is swapped out.",
    ({ usage }) => usage.memory.swapBytes,
  ),
  pageFaults("pgfault", ({ memory }) => memory.pageFaults),
  pageFaults("pgmajfault", ({ memory }) => memory.majorPageFaults),
  ofMachine(GAUGE, "threads", "Threads of the VM's process.", ({ usage }) => usage.threads),
  ofMachine(GAUGE, "processes", "Processes that run the VM.", () => 1),
  ofMachine(
    GAUGE,
    "fs_usage_bytes",
    "What the VM's writable disk takes on the node.",
    ({ stats }) => stats.disk?.usedBytes,
  ),
  ofMachine(GAUGE, "start_time_seconds", "When the VM was started, in seconds since 1970.", ({ stats }) =>
    startedAtSeconds(stats),
  ),
  ofMachine(GAUGE, "last_seen", "When this was measured, in seconds since 1970.", ({ usage }) => usage.atMs / 1e3),
  ofMachine(
    GAUGE,
    "spec_memory_limit_bytes",
    "The memory limit that is in force; 0: none.",
    ({ stats }) => resourcesInForce(stats.machine).memoryLimitBytes ?? 0,
  ),
  ofMachine(COUNTER, "pressure_cpu_waiting_seconds_total", "Some of it waited for CPU.", ({ usage }) =>
    seconds(usage.cpu.pressure, "some"),
  ),
  ofMachine(COUNTER, "pressure_memory_waiting_seconds_total", "Some of it waited for memory.", ({ usage }) =>
    seconds(usage.memory.pressure, "some"),
  ),
  ofMachine(COUNTER, "pressure_memory_stalled_seconds_total", "All of it waited for memory.", ({ usage }) =>
    seconds(usage.memory.pressure, "full"),
  ),
  ofMachine(COUNTER, "pressure_io_waiting_seconds_total", "Some of it waited for IO.", ({ usage }) =>
    seconds(usage.io.pressure, "some"),
  ),
  ofMachine(COUNTER, "pressure_io_stalled_seconds_total", "All of it waited for IO.", ({ usage }) =>
    seconds(usage.io.pressure, "full"),
  ),
];

const ofInterface = (name: string, help: string, value: (of: InterfaceUsage) => number): Measure<InterfaceUsage> => ({
  name: `container_network_${name}_total`,
  help,
  type: COUNTER,
  labelKeys: INTERFACE_LABELS,
  labels: (of) => [of.name],
  value,
});

const INTERFACE_MEASURES: readonly Measure<InterfaceUsage>[] = [
  ofInterface("receive_bytes", "Bytes that reached the pod.", ({ rxBytes }) => rxBytes),
  ofInterface("receive_errors", "Errors in receiving.", ({ rxErrors }) => rxErrors),
  ofInterface("transmit_bytes", "Bytes that left the pod.", ({ txBytes }) => txBytes),
  ofInterface("transmit_errors", "Errors in sending.", ({ txErrors }) => txErrors),
];

/** cAdvisor has no names for these: what is in a container is the node's. */
const ofGuestMemory = (
  name: string,
  help: string,
  value: (of: GuestMemory) => number | undefined,
): Measure<GuestMemory> => ({ name: `vmlet_guest_memory_${name}_bytes`, help, type: GAUGE, labelKeys: LABELS, value });

const GUEST_MEMORY_MEASURES: readonly Measure<GuestMemory>[] = [
  ofGuestMemory("total", "Memory of the guest, by its own word.", ({ totalBytes }) => totalBytes),
  ofGuestMemory("free", "Memory that nobody in the guest uses, by its own word.", ({ freeBytes }) => freeBytes),
  ofGuestMemory(
    "available",
    "Memory that programs in the guest could have, by its own word.",
    ({ availableBytes }) => availableBytes,
  ),
];

const ofGuestFilesystem = (
  name: string,
  help: string,
  value: (of: GuestFilesystem) => number,
): Measure<GuestFilesystem> => ({
  name: `vmlet_guest_filesystem_${name}_bytes`,
  help,
  type: GAUGE,
  labelKeys: FILESYSTEM_LABELS,
  labels: ({ mountpoint, type }) => [mountpoint, type],
  value,
});

const GUEST_FILESYSTEM_MEASURES: readonly Measure<GuestFilesystem>[] = [
  ofGuestFilesystem(
    "used",
    "What is used of a file system of the guest, by its own word.",
    ({ usedBytes }) => usedBytes,
  ),
  ofGuestFilesystem("size", "Size of a file system of the guest, by its own word.", ({ sizeBytes }) => sizeBytes),
];

export function metricDescriptors(): MetricDescriptor[] {
  const byName = new Map<string, MetricDescriptor>(); // one name may have several measures
  for (const { name, help, labelKeys } of [
    ...MACHINE_MEASURES,
    ...INTERFACE_MEASURES,
    ...GUEST_MEMORY_MEASURES,
    ...GUEST_FILESYSTEM_MEASURES,
  ])
    byName.set(name, { name, help, labelKeys: [...labelKeys] });
  return [...byName.values()];
}

/** @param reports What guests said last, with its own time. */
export function podSandboxMetricsOf(
  { pod, machines, network }: PodStats,
  reports: ReadonlyMap<MachineId, GuestReport>,
): PodSandboxMetrics {
  const { podId, spec } = pod.facts;
  const labels = [podId, podId, "", "", spec.name, spec.namespace];
  const interfaces = network?.interfaces.filter(({ name }) => !isTapName(name)) ?? [];
  return {
    podSandboxId: podId,
    metrics: interfaces.flatMap((of) => measure(INTERFACE_MEASURES, of, labels, network?.atMs ?? 0)),
    containerMetrics: machines.flatMap((stats) =>
      containerMetricsOf(stats, reports.get(stats.machine.facts.machineId) ?? {}, [spec.name, spec.namespace]),
    ),
  };
}

function containerMetricsOf(
  stats: MachineStats,
  { memory, filesystems }: GuestReport,
  podLabels: readonly string[],
): ContainerMetrics[] {
  const { usage, machine } = stats;
  if (usage === undefined) return [];
  const { machineId, spec } = machine.facts;
  const labels = [machineId, machineId, spec.userImage, spec.name, ...podLabels];
  const metrics = [
    ...measure(MACHINE_MEASURES, { stats, usage }, labels, usage.atMs),
    ...(memory === undefined ? [] : measure(GUEST_MEMORY_MEASURES, memory, labels, memory.atMs)),
    ...(filesystems?.all ?? []).flatMap((of) => measure(GUEST_FILESYSTEM_MEASURES, of, labels, filesystems?.atMs ?? 0)),
  ];
  return [{ containerId: machineId, metrics }];
}

function measure<Of>(measures: readonly Measure<Of>[], of: Of, labels: readonly string[], atMs: number): Metric[] {
  return measures.flatMap(({ name, type, labels: more, value }) => {
    const known = value(of);
    if (known === undefined) return [];
    return [
      {
        name,
        timestamp: nanosOf(atMs),
        metricType: type,
        labelValues: [...labels, ...(more?.(of) ?? [])],
        value: { value: BigInt(Math.round(known)) },
      },
    ];
  });
}

function startedAtSeconds({ machine: { state } }: MachineStats): number | undefined {
  return "startedAtMs" in state && state.startedAtMs !== undefined ? state.startedAtMs / 1e3 : undefined;
}
