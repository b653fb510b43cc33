import { expect, test } from "vitest";
import { resourcesInForce } from "../../../src/engine/update-machine.ts";
import type { Resources } from "../../../src/model/resources.ts";
import { IMAGE, machineSpec, podSpec, soon, World } from "./world.ts";

const AT_FIRST: Resources = { cpuShares: 1024, cpuPeriodUs: 100_000, cpuQuotaUs: 150_000, memoryLimitBytes: 1 << 30 };

async function running() {
  const world = new World();
  await world.images.pull(IMAGE, soon());
  const { engine } = await world.start();
  const podId = await engine.runPod(podSpec(), soon());
  const machineId = await engine.createMachine(podId, machineSpec({ resources: AT_FIRST }), soon());
  await engine.startMachine(machineId, soon());
  const update = async (change: Resources) => engine.updateMachine(machineId, change, soon());
  return { world, engine, machineId, update };
}

test("shares and quota change at once, what is not named stays, and all of it outlives a restart", async () => {
  const { world, engine, machineId, update } = await running();
  await update({ cpuShares: 512 });
  expect(world.hypervisor.tunedTo(machineId)).toEqual({ shares: 512, periodUs: 100_000, quotaUs: 150_000, count: 2 });
  await update({ cpuQuotaUs: 50_000, memoryLimitBytes: 1 << 30 });
  expect(world.hypervisor.tunedTo(machineId)).toMatchObject({ shares: 512, quotaUs: 50_000 });
  const wanted = { ...AT_FIRST, cpuShares: 512, cpuQuotaUs: 50_000 };
  expect(resourcesInForce(engine.pods.machine(machineId))).toEqual(wanted);
  const again = await world.start();
  expect(resourcesInForce(again.engine.pods.machine(machineId))).toEqual(wanted);
});

test("the same again asks nothing of libvirt", async () => {
  const { world, machineId, update } = await running();
  await update({ cpuShares: 1024, memoryLimitBytes: 1 << 30 });
  expect(world.hypervisor.tunedTo(machineId)).toBeUndefined();
});

test.each<[string, Resources, RegExp]>([
  ["memory", { memoryLimitBytes: 2 << 30 }, /memory of a VM/],
  ["the CPUs to run on", { cpusetCpus: "1" }, /CPUs and memory nodes/],
  ["more vCPUs", { cpuQuotaUs: 250_000 }, /has 2 vCPUs, and the new limit is of use to 3 only/],
])("%s needs a new start: refused with the reason, nothing changed", async (_what, change, why) => {
  const { engine, machineId, update } = await running();
  const refusal = update({ ...change, cpuShares: 2 });
  await expect(refusal).rejects.toMatchObject({ failure: { code: "WRONG_STATE" } });
  await expect(refusal).rejects.toThrow(why);
  expect(resourcesInForce(engine.pods.machine(machineId))).toEqual(AT_FIRST);
});

test("an exited machine is not changed any more, and an unknown one is not there", async () => {
  const { engine, machineId, update } = await running();
  await engine.stopMachine(machineId, 0, soon());
  await expect(update({ cpuShares: 2 })).rejects.toThrow(/has exited/);
  await engine.removeMachine(machineId, soon());
  await expect(update({ cpuShares: 2 })).rejects.toMatchObject({ failure: { code: "MACHINE_NOT_FOUND" } });
});
