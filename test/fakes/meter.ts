// A meter whose figures are said by the test.

import type { MachineId, PodId } from "../../src/model/ids.ts";
import type { MachineUsage, NetworkUsage } from "../../src/model/usage.ts";
import type { Meter } from "../../src/ports/meter.ts";

export class FakeMeter implements Meter {
  /** What does not stand here does not run. */
  readonly machines = new Map<MachineId, MachineUsage>();
  readonly networks = new Map<PodId, NetworkUsage>();
  readonly disks = new Map<string, { readonly usedBytes: number; readonly usedInodes: number }>();
  /** How often a machine was measured. */
  measured = 0;

  async machine({ machineId }: { readonly machineId: MachineId }): Promise<MachineUsage | undefined> {
    this.measured += 1;
    return this.machines.get(machineId);
  }

  readonly killedForMemory = new Set<number>();

  wasKilledForMemory(pid: number): boolean {
    return this.killedForMemory.has(pid);
  }

  async network({ podId }: { readonly podId: PodId }): Promise<NetworkUsage | undefined> {
    return this.networks.get(podId);
  }

  async disk(overlayPath: string): Promise<{ readonly usedBytes: number; readonly usedInodes: number } | undefined> {
    return this.disks.get(overlayPath);
  }
}

export const someUsage = (atMs: number, totalNanos: number): MachineUsage => ({
  atMs,
  cpu: { totalNanos },
  memory: {
    workingSetBytes: 100 << 20,
    usageBytes: 150 << 20,
    rssBytes: 90 << 20,
    swapBytes: 0,
    pageFaults: 1000,
    majorPageFaults: 3,
  },
  io: {},
  threads: 7,
});
