// What every Hypervisor must do, fake or real.

import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { poll } from "../../src/lib/backoff.ts";
import type { MachineId } from "../../src/model/ids.ts";
import { newMachineId } from "../../src/model/ids.ts";
import type { MachinePlan } from "../../src/model/machine-plan.ts";
import type { Hypervisor, MachineSignal } from "../../src/ports/hypervisor.ts";

/** A hypervisor with what its tests need of the world around it. */
export interface HypervisorBench extends AsyncDisposable {
  readonly hypervisor: Hypervisor;
  /** A machine that can be defined and started here; new each time. */
  newPlan(): Promise<MachinePlan>;
  /** A running domain of somebody else's; says whether it still runs. */
  addForeign(): Promise<{ isRunning(): Promise<boolean> }>;
  /** As `virsh destroy` does, past the port. */
  destroyByHand(machineId: MachineId): Promise<void>;
  /** As `virsh suspend` does. */
  pauseByHand(machineId: MachineId): Promise<void>;
  /** As `virsh start` does. */
  startByHand(machineId: MachineId): Promise<void>;
}

const LIMIT_MS = 30_000;
const limit = (): AbortSignal => AbortSignal.timeout(LIMIT_MS);

export function hypervisorContract(subject: string, openBench: () => Promise<HypervisorBench>): void {
  describe(`${subject} as a Hypervisor`, () => {
    let bench: HypervisorBench;
    let hypervisor: Hypervisor;
    const heard: MachineSignal[] = [];

    beforeAll(async () => {
      bench = await openBench();
      hypervisor = bench.hypervisor;
      hypervisor.listen((event) => heard.push(event));
    });
    afterAll(async () => bench[Symbol.asyncDispose]());

    const hears = async (wanted: MachineSignal): Promise<void> => {
      const found = async (): Promise<true | undefined> =>
        heard.some((event) => JSON.stringify(sorted(event)) === JSON.stringify(sorted(wanted))) || undefined;
      try {
        await poll(found, { firstMs: 5, maxMs: 50 }, limit());
      } catch (cause) {
        throw new Error(`never heard ${JSON.stringify(wanted)}; heard ${JSON.stringify(heard)}`, { cause });
      }
    };
    const defined = async (): Promise<MachinePlan> => {
      const plan = await bench.newPlan();
      await hypervisor.define(plan, limit());
      return plan;
    };
    const started = async (): Promise<MachinePlan> => {
      const plan = await defined();
      await hypervisor.startPaused(plan.machineId, limit());
      return plan;
    };
    const conditionOf = async (machineId: MachineId): Promise<unknown> =>
      (await hypervisor.look(machineId, limit()))?.condition;

    test("says what it is", async () => {
      const info = await hypervisor.probe(limit());
      expect(info.libvirtVersion).toMatch(/^\d+\.\d+\.\d+$/);
      expect(info.qemuVersion).toMatch(/^\d+\.\d+\.\d+$/);
    });

    test("has no sighting of a machine that nobody defined, and forgets it without complaint", async () => {
      const machineId = newMachineId();
      expect(await hypervisor.look(machineId, limit())).toBeUndefined();
      await hypervisor.destroy(machineId, limit());
      await hypervisor.undefine(machineId, limit());
    });

    test.each(["startPaused", "resume", "tune", "pin", "setMemory"] as const)(
      "%s of an unknown machine is DOMAIN_NOT_FOUND",
      async (call) => {
        const calls = {
          startPaused: async () => hypervisor.startPaused(newMachineId(), limit()),
          resume: async () => hypervisor.resume(newMachineId(), limit()),
          tune: async () => hypervisor.tune(newMachineId(), { count: 1, shares: 2 }, limit()),
          pin: async () => hypervisor.pin(newMachineId(), { count: 1, cpuset: "0" }, limit()),
          setMemory: async () => hypervisor.setMemory(newMachineId(), 64 << 20, limit()),
        };
        await expect(calls[call]()).rejects.toMatchObject({
          failure: { code: "DOMAIN_NOT_FOUND" },
        });
      },
    );

    test("an unknown machine's agent is DOMAIN_NOT_FOUND", async () => {
      await expect(hypervisor.askAgent(newMachineId(), { execute: "guest-ping" }, limit())).rejects.toMatchObject({
        failure: { code: "DOMAIN_NOT_FOUND" },
      });
    });

    test("defines a machine once, however often it is asked, under the name of its plan", async () => {
      const plan = await defined();
      await hypervisor.define(plan, limit());
      const sightings = (await hypervisor.list(limit())).filter((seen) => seen.machineId === plan.machineId);
      expect(sightings).toHaveLength(1);
      expect(sightings[0]).toMatchObject({ domainName: plan.domainName, condition: { is: "off" } });
      expect(sightings[0]?.condition).toEqual({ is: "off", ended: "never-started" });
    });

    test("starts a machine paused and lets it run when it is resumed, once", async () => {
      const { machineId } = await started();
      await hears({ type: "started", machineId });
      expect(await conditionOf(machineId)).toEqual({ is: "on", paused: "start" });
      await hypervisor.resume(machineId, limit());
      await hears({ type: "resumed", machineId });
      expect(await conditionOf(machineId)).toEqual({ is: "on" });
      await hypervisor.resume(machineId, limit());
      expect(await conditionOf(machineId)).toEqual({ is: "on" });
    });

    test("tells the process of a machine that is on, and none of one that is off", async () => {
      const plan = await started();
      const { machineId } = plan;
      const pid = (await hypervisor.look(machineId, limit()))?.pid;
      expect(pid).toBeGreaterThan(1);
      expect(await hypervisor.pidOf(plan)).toBe(pid);
      await hypervisor.destroy(machineId, limit());
      expect((await hypervisor.look(machineId, limit()))?.pid).toBeUndefined();
      expect(await hypervisor.pidOf(plan)).toBeUndefined();
    });

    test("changes nothing of a machine that is off; asks the guest of one that is on for memory", async () => {
      const off = await defined();
      const isOff = { failure: { code: "HYPERVISOR_FAILED", libvirtCode: 55 } };
      await expect(hypervisor.tune(off.machineId, { count: 1, shares: 300 }, limit())).rejects.toMatchObject(isOff);
      await expect(hypervisor.setMemory(off.machineId, 64 << 20, limit())).rejects.toMatchObject(isOff);
      const on = await started();
      await hypervisor.pin(on.machineId, { count: on.cpu.count, cpuset: "0" }, limit());
      await hypervisor.setMemory(on.machineId, on.memoryBytes, limit());
      expect((await hypervisor.sizes([on.machineId], limit())).get(on.machineId)?.memoryBytes).toBe(on.memoryBytes);
    });

    test("tells the sizes of machines that are on, and of nobody else's", async () => {
      const on = await started();
      const off = await defined();
      const foreign = await bench.addForeign();
      const sizes = await hypervisor.sizes([on.machineId, off.machineId, newMachineId()], limit());
      const { memoryBytes, cpu } = on;
      expect([...sizes]).toEqual([[on.machineId, { vcpus: cpu.count, maxMemoryBytes: memoryBytes, memoryBytes }]]);
      expect([...(await hypervisor.sizes([off.machineId], limit()))]).toEqual([]);
      expect(await foreign.isRunning()).toBe(true);
    });

    test("refuses to start a machine that is on, and leaves it on", async () => {
      const { machineId } = await started();
      await expect(hypervisor.startPaused(machineId, limit())).rejects.toMatchObject({
        failure: { code: "HYPERVISOR_FAILED", libvirtCode: 55 },
      });
      expect(await conditionOf(machineId)).toMatchObject({ is: "on" });
    });

    test("destroys a machine once, and remembers that it did", async () => {
      const { machineId } = await started();
      await hypervisor.destroy(machineId, limit());
      await hears({ type: "stopped", machineId, how: "destroyed" });
      expect(await conditionOf(machineId)).toEqual({ is: "off", ended: "destroyed" });
      await hypervisor.destroy(machineId, limit());
    });

    test("starts a machine again after its end", async () => {
      const { machineId } = await started();
      await hypervisor.destroy(machineId, limit());
      await hypervisor.startPaused(machineId, limit());
      expect(await conditionOf(machineId)).toEqual({ is: "on", paused: "start" });
    });

    test("refuses to forget a machine that is on, and forgets it once it is off", async () => {
      const { machineId } = await started();
      await expect(hypervisor.undefine(machineId, limit())).rejects.toMatchObject({ failure: { code: "WRONG_STATE" } });
      expect(await conditionOf(machineId)).toMatchObject({ is: "on" });
      await hypervisor.destroy(machineId, limit());
      await hypervisor.undefine(machineId, limit());
      await hears({ type: "undefined", machineId });
      expect(await hypervisor.look(machineId, limit())).toBeUndefined();
      expect((await hypervisor.list(limit())).map((seen) => seen.machineId)).not.toContain(machineId);
    });

    test("cannot ask a machine that is off to power off", async () => {
      const { machineId } = await defined();
      await expect(hypervisor.askToPowerOff(machineId, "acpi", limit())).rejects.toMatchObject({
        failure: { code: "HYPERVISOR_FAILED", libvirtCode: 55 },
      });
    });

    test("says of a guest without an agent that it has none, and asks none of a machine that is off", async () => {
      const ping = { execute: "guest-ping" };
      const off = await defined();
      await expect(hypervisor.askAgent(off.machineId, ping, limit())).rejects.toMatchObject({
        failure: { code: "HYPERVISOR_FAILED", libvirtCode: 55 },
      });
      const { machineId, domainName } = await started();
      await hypervisor.resume(machineId, limit());
      await expect(hypervisor.askAgent(machineId, ping, limit())).rejects.toMatchObject({
        failure: { code: "AGENT_ABSENT", domain: domainName },
      });
    });

    test("hears of what a person does past it", async () => {
      const { machineId } = await started();
      await hypervisor.resume(machineId, limit());
      await bench.pauseByHand(machineId);
      await hears({ type: "paused", machineId });
      expect(await conditionOf(machineId)).toEqual({ is: "on", paused: "other" });
      await bench.destroyByHand(machineId);
      await hears({ type: "stopped", machineId, how: "destroyed" });
      expect(await conditionOf(machineId)).toEqual({ is: "off", ended: "destroyed" });
      heard.length = 0;
      await bench.startByHand(machineId);
      await hears({ type: "started", machineId });
      expect(await conditionOf(machineId)).toEqual({ is: "on" });
    });

    test("neither lists nor changes a domain of somebody else's", async () => {
      const before = (await hypervisor.list(limit())).length;
      const foreign = await bench.addForeign();
      expect(await hypervisor.list(limit())).toHaveLength(before);
      expect(await foreign.isRunning()).toBe(true);
    });

    test("gives up a call whose signal is already aborted, with its reason, and without effect", async () => {
      const plan = await bench.newPlan();
      const reason = new Error("the caller went away");
      await expect(hypervisor.define(plan, AbortSignal.abort(reason))).rejects.toBe(reason);
      expect(await hypervisor.look(plan.machineId, limit())).toBeUndefined();
    });

    test("tells nothing to a listener that left", async () => {
      const late: MachineSignal[] = [];
      const listening = hypervisor.listen((event) => late.push(event));
      listening[Symbol.dispose]();
      const { machineId } = await started();
      await hears({ type: "started", machineId });
      expect(late).toEqual([]);
    });
  });
}

const sorted = (event: MachineSignal): unknown => Object.entries(event).toSorted(([a], [b]) => (a < b ? -1 : 1));
