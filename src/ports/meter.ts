import type { MachineId, PodId } from "../model/ids.ts";
import type { MachineUsage, NetworkUsage } from "../model/usage.ts";

/**
 * What the kernel counts. Implemented by `src/kernel/`; faked in `test/fakes/meter.ts`. Nothing here asks libvirt or
 * QEMU, so a machine that hangs and a libvirtd that does are measured like all others.
 */
export interface Meter {
  /** Undefined when it does not run. Never throws. */
  machine(machine: { readonly machineId: MachineId; readonly domainName: string }): Promise<MachineUsage | undefined>;
  /** Whether the kernel ended that process for want of memory, by its log as far as that goes back. Never throws. */
  wasKilledForMemory(pid: number): boolean;
  /** The pod's own interfaces, in its netns. Undefined when there is nothing to be seen. Never throws. */
  network(
    pod: { readonly podId: PodId; readonly netnsPath: string },
    signal: AbortSignal,
  ): Promise<NetworkUsage | undefined>;
  /** Bytes and inodes that a machine's writable disk takes. Undefined when it is gone. Never throws. */
  disk(overlayPath: string): Promise<{ readonly usedBytes: number; readonly usedInodes: number } | undefined>;
}
