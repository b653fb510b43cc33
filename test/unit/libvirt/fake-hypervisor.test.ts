import { expect, test } from "vitest";
import type { MachineSignal } from "../../../src/ports/hypervisor.ts";
import { hypervisorContract } from "../../contract/hypervisor.contract.ts";
import { FakeHypervisor } from "../../fakes/hypervisor.ts";
import { aMachinePlan } from "../../fakes/machine-plan.ts";

const limit = (): AbortSignal => AbortSignal.timeout(5_000);

hypervisorContract("the fake", async () => {
  const hypervisor = new FakeHypervisor();
  return {
    hypervisor,
    newPlan: async () => aMachinePlan(),
    addForeign: async () => ({ isRunning: async () => true }),
    destroyByHand: async (machineId) => hypervisor.end(machineId, "destroyed"),
    pauseByHand: async (machineId) => hypervisor.pauseByHand(machineId),
    startByHand: async (machineId) => hypervisor.startByHand(machineId),
    [Symbol.asyncDispose]: async () => {},
  };
});

test("a guest with manners powers off when it is asked, a deaf one does not", async () => {
  const hypervisor = new FakeHypervisor();
  const { machineId } = await runningOn(hypervisor);
  hypervisor.setManners(machineId, "deaf");
  await hypervisor.askToPowerOff(machineId, "acpi", limit());
  expect((await hypervisor.look(machineId, limit()))?.condition).toEqual({ is: "on" });
  hypervisor.setManners(machineId, "obeys");
  await hypervisor.askToPowerOff(machineId, "agent", limit());
  expect((await hypervisor.look(machineId, limit()))?.condition).toEqual({ is: "off", ended: "shutdown" });
});

test("what happens while it is gone is not signalled, its return is", async () => {
  const hypervisor = new FakeHypervisor();
  const { machineId } = await runningOn(hypervisor);
  const heard: MachineSignal[] = [];
  hypervisor.listen((event) => heard.push(event));
  hypervisor.goAway();
  hypervisor.end(machineId, "shutdown");
  await expect(hypervisor.list(limit())).rejects.toMatchObject({ failure: { code: "HYPERVISOR_GONE" } });
  hypervisor.comeBack();
  expect((await hypervisor.look(machineId, limit()))?.condition).toEqual({ is: "off", ended: "shutdown" });
  expect(heard).toEqual([{ type: "reconnected" }]);
});

test("calls on a stuck machine fail at once and others work", async () => {
  const hypervisor = new FakeHypervisor();
  const stuck = await runningOn(hypervisor);
  const healthy = await runningOn(hypervisor);
  hypervisor.stick(stuck.machineId, { isStuck: true });
  await expect(hypervisor.destroy(stuck.machineId, limit())).rejects.toMatchObject({
    failure: { code: "HYPERVISOR_STUCK" },
  });
  await hypervisor.destroy(healthy.machineId, limit());
});

async function runningOn(hypervisor: FakeHypervisor): Promise<ReturnType<typeof aMachinePlan>> {
  const plan = aMachinePlan();
  await hypervisor.define(plan, limit());
  await hypervisor.startPaused(plan.machineId, limit());
  await hypervisor.resume(plan.machineId, limit());
  return plan;
}
