import type { MachineId } from "../model/ids.ts";
import type { CpuPlan } from "../model/machine-plan.ts";

/** Shares, quota, CPUs and memory nodes; a group knows nothing of vCPUs. */
export type CpuLimits = Omit<CpuPlan, "count">;

export interface PlaceRequest {
  readonly machineId: MachineId;
  /** Of the process that runs the machine. */
  readonly pid: number;
  /** The pod's cgroup, below the root of each hierarchy. */
  readonly cgroupPath: string;
  readonly cpu: CpuLimits;
}

/**
 * Machines in the cgroups of their pods, where the hypervisor cannot be told to make them there.
 * Implemented by `src/kernel/`; faked in `test/fakes/machine-cgroups.ts`; both MUST pass
 * `test/contract/machine-cgroups.contract.ts`.
 */
export interface MachineCgroups {
  /**
   * The process, all its threads and what the hypervisor started for it come into a group of their own in the pod's, with
   * these limits. There already: only the limits. Which devices it may open stays as it is where the node can tell that apart. What the node will not have is told in the log: a machine runs in any group.
   */
  place(request: PlaceRequest, signal: AbortSignal): Promise<void>;
  /**
   * Other limits, at once; a quota that is not said is none, what else is not said stays. False, and nothing is changed,
   * when the machine is not in a group of ours.
   * @throws SPEC_INVALID for a set that the pod has not.
   */
  tune(machineId: MachineId, cpu: CpuLimits, signal: AbortSignal): Promise<boolean>;
  /** For a machine that ended: its group is gone, and those in which the hypervisor began it. Never placed: no change. */
  leave(machineId: MachineId, signal: AbortSignal): Promise<void>;
}
