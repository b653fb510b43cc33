// What every MachineCgroups must do, whatever is behind it.

import { describe, expect, test } from "vitest";
import type { MachineId } from "../../src/model/ids.ts";
import type { CpuLimits, MachineCgroups } from "../../src/ports/machine-cgroups.ts";

export interface MachineCgroupsWorld extends AsyncDisposable {
  readonly cgroups: MachineCgroups;
  /** There is such a cgroup. */
  readonly cgroupPath: string;
  /** What is in force for the machine; undefined when it is in no group of ours. */
  limitsOf(machineId: MachineId): Promise<Pick<CpuLimits, "shares" | "periodUs" | "quotaUs"> | undefined>;
}

const soon = (): AbortSignal => AbortSignal.timeout(20_000);
const MACHINE = "ab".repeat(32) as MachineId;
const OTHER = "cd".repeat(32) as MachineId;
const CPU = { shares: 512, periodUs: 50_000, quotaUs: 25_000 };

export function machineCgroupsContract(name: string, makeWorld: () => Promise<MachineCgroupsWorld>): void {
  describe(`${name} as MachineCgroups`, () => {
    const placed = async (world: MachineCgroupsWorld, cpu: CpuLimits = CPU): Promise<void> =>
      await world.cgroups.place(
        { machineId: MACHINE, pid: 4_000_042, cgroupPath: world.cgroupPath, cpu }, // above any real pid
        soon(),
      );

    test("places a machine with its limits, and again with others", async () => {
      await using world = await makeWorld();
      await placed(world);
      expect(await world.limitsOf(MACHINE)).toEqual(CPU);
      await placed(world, { ...CPU, shares: 300 });
      expect(await world.limitsOf(MACHINE)).toEqual({ ...CPU, shares: 300 });
    });

    test("changes the limits of one that is placed: what is not said stays, but for the quota", async () => {
      await using world = await makeWorld();
      await placed(world);
      expect(await world.cgroups.tune(MACHINE, { periodUs: 100_000, quotaUs: 70_000 }, soon())).toBe(true);
      expect(await world.limitsOf(MACHINE)).toEqual({ shares: 512, periodUs: 100_000, quotaUs: 70_000 });
      expect(await world.cgroups.tune(MACHINE, { shares: 2 }, soon())).toBe(true);
      expect(await world.limitsOf(MACHINE)).toEqual({ shares: 2 });
    });

    test("says so of one that is not placed, not any more, or another", async () => {
      await using world = await makeWorld();
      expect(await world.cgroups.tune(MACHINE, CPU, soon())).toBe(false);
      await placed(world);
      expect(await world.cgroups.tune(OTHER, CPU, soon())).toBe(false);
      await world.cgroups.leave(MACHINE, soon());
      expect(await world.cgroups.tune(MACHINE, CPU, soon())).toBe(false);
      expect(await world.limitsOf(MACHINE)).toBeUndefined();
    });

    test("leaves once, and what was never placed not at all", async () => {
      await using world = await makeWorld();
      await placed(world);
      await world.cgroups.leave(OTHER, soon());
      expect(await world.limitsOf(MACHINE)).toEqual(CPU);
      await world.cgroups.leave(MACHINE, soon());
      await world.cgroups.leave(MACHINE, soon());
    });

    test("does nothing for a caller that went away", async () => {
      await using world = await makeWorld();
      const request = { machineId: MACHINE, pid: 4_000_042, cgroupPath: world.cgroupPath, cpu: CPU };
      await expect(world.cgroups.place(request, AbortSignal.abort())).rejects.toThrow("aborted");
      expect(await world.limitsOf(MACHINE)).toBeUndefined();
      await placed(world);
      await expect(world.cgroups.leave(MACHINE, AbortSignal.abort())).rejects.toThrow("aborted");
      await expect(world.cgroups.tune(MACHINE, {}, AbortSignal.abort())).rejects.toThrow("aborted");
      expect(await world.limitsOf(MACHINE)).toEqual(CPU);
    });
  });
}
