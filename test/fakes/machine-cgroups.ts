// Cgroups in memory: remembers which machine is in which, and with which limits.

import type { MachineId } from "../../src/model/ids.ts";
import type { CpuLimits, MachineCgroups, PlaceRequest } from "../../src/ports/machine-cgroups.ts";

export class FakeMachineCgroups implements MachineCgroups {
  readonly placed = new Map<MachineId, PlaceRequest>();

  async place(request: PlaceRequest, signal: AbortSignal): Promise<void> {
    signal.throwIfAborted();
    this.placed.set(request.machineId, request);
  }

  async tune(machineId: MachineId, cpu: CpuLimits, signal: AbortSignal): Promise<boolean> {
    signal.throwIfAborted();
    const request = this.placed.get(machineId);
    if (request === undefined) return false;
    const { periodUs: _, quotaUs: __, ...staying } = request.cpu;
    this.placed.set(machineId, { ...request, cpu: { ...staying, ...cpu } });
    return true;
  }

  async leave(machineId: MachineId, signal: AbortSignal): Promise<void> {
    signal.throwIfAborted();
    this.placed.delete(machineId);
  }
}
