import type { MachineId, PodId } from "../model/ids.ts";
import type { CpuPlan, MachinePlan } from "../model/machine-plan.ts";

/** How a domain is, in libvirt's terms folded to what we act on. */
export type MachineCondition =
  /**
   * Defined, not running; `ended` says how the last run ended, as far as libvirt still knows; `taken-away`: a person saved it
   * to a file or migrated it.
   */
  | {
      readonly is: "off";
      readonly ended: "never-started" | "shutdown" | "destroyed" | "crashed" | "failed" | "taken-away" | "unknown";
    }
  /**
   * `paused`: created paused by us (`start`), disk full or broken (`io-error`), or by a person's hand (`other`). An
   * adapter that has not seen the machine run says `start` for a person's pause, too: libvirt has one reason for both.
   */
  | { readonly is: "on"; readonly paused?: "start" | "io-error" | "other" };

/** One of our domains, as libvirt shows it. */
export interface MachineSighting {
  readonly machineId: MachineId;
  /** From the domain's metadata. */
  readonly podId: PodId;
  readonly domainName: string;
  readonly condition: MachineCondition;
  /** QEMU's process id, when it runs and the hypervisor tells it. */
  readonly pid?: number;
  /** Of the QEMU that it had, when it is off and this hypervisor saw it on. */
  readonly lastPid?: number;
}

/** What a machine that is on was given. */
export interface MachineSize {
  readonly vcpus: number;
  /** What it was started with. */
  readonly maxMemoryBytes: number;
  /** What the balloon leaves it. */
  readonly memoryBytes: number;
  /** What its guest says, where that has a driver for the balloon. */
  readonly guest?: GuestMemory;
}

/** A guest's own word. */
export interface GuestMemory {
  /** When it said so. */
  readonly atMs: number;
  readonly totalBytes: number;
  /** Nobody uses it. */
  readonly freeBytes: number;
  /** Programs could have it: free, or a cache that would make way. Older guests do not tell. */
  readonly availableBytes?: number;
}

/** Something happened to a domain of ours. The condition is asked for afterwards; an event is a reason to look. */
export type MachineSignal =
  | {
      readonly type: "started" | "resumed" | "paused" | "rebooted" | "io-error" | "agent-up" | "undefined";
      readonly machineId: MachineId;
    }
  | {
      readonly type: "stopped";
      readonly machineId: MachineId;
      readonly how: "shutdown" | "destroyed" | "crashed" | "failed" | "unknown";
    }
  | { readonly type: "panicked"; readonly machineId: MachineId }
  /** The connection was lost and is back: events in between are gone, so look at everything. */
  | { readonly type: "reconnected" };

/**
 * Virtual machines, as the engine needs them. Implemented by `src/libvirt/`; faked in `test/fakes/hypervisor.ts`;
 * both MUST pass `test/contract/hypervisor.contract.ts`. Domains that are not ours (by metadata) MUST never be
 * listed, changed or removed.
 *
 * All calls throw `HYPERVISOR_GONE` while there is no connection, `HYPERVISOR_STUCK` when the domain is quarantined
 * (a call on it passed its limit), `TIMED_OUT` when a call on no machine did, `HYPERVISOR_FAILED` with libvirt's own code otherwise. Abort ends the waiting;
 * whether libvirt carried the call out is then unknown, so callers look before they act again.
 */
export interface Hypervisor {
  /** Whether it answers at all. @throws HYPERVISOR_GONE */
  probe(signal: AbortSignal): Promise<HypervisorInfo>;
  /**
   * Make the domain known, not running. Same plan again: no change.
   * @throws TEMPLATE_INVALID naming the template file.
   */
  define(plan: MachinePlan, signal: AbortSignal): Promise<void>;
  /** Start it with its CPUs stopped; its taps exist afterwards in the host's netns. @throws DOMAIN_NOT_FOUND */
  startPaused(machineId: MachineId, signal: AbortSignal): Promise<void>;
  /** Let the CPUs run. Running already: no change. */
  resume(machineId: MachineId, signal: AbortSignal): Promise<void>;
  /**
   * Other shares, another quota, other CPUs and memory nodes for a machine that is on, at once; a quota that is not said
   * is none, a set that is not said stays. A failure may leave some of it in force; the same call again makes it all.
   * @param cpu `count` is what the machine has: this changes no vCPUs.
   * @throws DOMAIN_NOT_FOUND; SPEC_INVALID for a set that the node has not.
   */
  tune(machineId: MachineId, cpu: CpuPlan, signal: AbortSignal): Promise<void>;
  /**
   * The CPUs alone, of what `tune` does: for a machine that is not in the hypervisor's cgroup.
   * @throws DOMAIN_NOT_FOUND; SPEC_INVALID for a set that the node has not.
   */
  pin(machineId: MachineId, cpu: Pick<CpuPlan, "count" | "cpuset">, signal: AbortSignal): Promise<void>;
  /**
   * Ask the guest of a machine that is on to live with so much memory: not more than it was started with. Resolves when
   * it was asked; `sizes` tells how far it has come.
   * @throws DOMAIN_NOT_FOUND; HYPERVISOR_FAILED for a machine without a balloon.
   */
  setMemory(machineId: MachineId, memoryBytes: number, signal: AbortSignal): Promise<void>;
  /** Of those that are on. A QEMU that is busy or hangs is not waited for: its guest's own figures are left out. */
  sizes(machineIds: readonly MachineId[], signal: AbortSignal): Promise<ReadonlyMap<MachineId, MachineSize>>;
  /** Ask the guest to power off. Resolves when it was asked, not when it is off. */
  askToPowerOff(machineId: MachineId, via: "agent" | "acpi", signal: AbortSignal): Promise<void>;
  /**
   * Ask the guest's agent one thing; what it answered is not checked. An answer is at most 4 MiB of JSON.
   * @throws AGENT_ABSENT when none answers; AGENT_REFUSED when it will not; DOMAIN_NOT_FOUND
   * @see QEMU's qga/qapi-schema.json
   */
  askAgent(machineId: MachineId, command: AgentCommand, signal: AbortSignal): Promise<unknown>;
  /** Power off now, a QEMU that answers nobody by killing it. Off already or unknown: no change. */
  destroy(machineId: MachineId, signal: AbortSignal): Promise<void>;
  /** Forget it, with everything libvirt keeps of it. Unknown: no change. MUST be off. */
  undefine(machineId: MachineId, signal: AbortSignal): Promise<void>;
  /** How it is now; undefined when there is no such domain. */
  look(machineId: MachineId, signal: AbortSignal): Promise<MachineSighting | undefined>;
  /**
   * The process that runs it, by what the node itself shows: asks nobody who could be slow. Undefined when it is off.
   * Never throws.
   */
  pidOf(machine: Pick<MachineSighting, "machineId" | "domainName">): Promise<number | undefined>;
  /** All of ours. */
  list(signal: AbortSignal): Promise<readonly MachineSighting[]>;
  /** Hear of changes until disposed. A listener must not throw and must return at once. */
  listen(listener: (event: MachineSignal) => void): Disposable;
}

export interface AgentCommand {
  /** `guest-ping` */
  readonly execute: string;
  readonly arguments?: Readonly<Record<string, unknown>>;
}

export interface HypervisorInfo {
  /** `9.0.0` */
  readonly libvirtVersion: string;
  /** `7.2.19` */
  readonly qemuVersion: string;
  readonly virtualization: "kvm" | "emulated";
}
