import { expect, test } from "vitest";
import { statusOf } from "../../../src/cri/grpc-status.ts";
import { resourcesInForce } from "../../../src/engine/update-machine.ts";
import type { Resources } from "../../../src/model/resources.ts";
import { IMAGE, machineSpec, podSpec, soon, World } from "./world.ts";

const AT_FIRST: Resources = { cpuShares: 1024, cpuPeriodUs: 100_000, cpuQuotaUs: 150_000, memoryLimitBytes: 1 << 30 };

async function running(world = new World()) {
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

test("a machine in a group of ours gets its limits there, and its vCPUs' CPUs from the hypervisor", async () => {
  const world = new World();
  await world.images.pull(IMAGE, soon());
  const { engine } = await world.start();
  const podId = await engine.runPod(podSpec({ cgroupParent: "/kubepods/burstable/pod1" }), soon());
  const machineId = await engine.createMachine(podId, machineSpec({ resources: AT_FIRST }), soon());
  await engine.startMachine(machineId, soon());
  const cpu = { shares: 1024, periodUs: 100_000, quotaUs: 150_000 };
  expect(world.machineCgroups.placed.get(machineId)).toMatchObject({ cgroupPath: "/kubepods/burstable/pod1", cpu });
  await engine.updateMachine(machineId, { cpuShares: 512, cpusetCpus: "0" }, soon());
  expect(world.machineCgroups.placed.get(machineId)?.cpu).toEqual({ ...cpu, shares: 512, cpuset: "0" });
  expect(world.hypervisor.pinnedTo(machineId)).toBe("0");
  expect(world.hypervisor.tunedTo(machineId)).toBeUndefined();
});

test("the same again asks nothing of libvirt", async () => {
  const { world, machineId, update } = await running();
  await update({ cpuShares: 1024, memoryLimitBytes: 1 << 30 });
  expect(world.hypervisor.tunedTo(machineId)).toBeUndefined();
});

test("the CPUs and memory nodes to run on change at once", async () => {
  const { world, engine, machineId, update } = await running();
  await update({ cpusetCpus: "1,3", cpusetMems: "0" });
  expect(world.hypervisor.tunedTo(machineId)).toMatchObject({ count: 2, cpuset: "1,3", memoryNodes: "0" });
  expect(resourcesInForce(engine.pods.machine(machineId))).toMatchObject({ cpusetCpus: "1,3", cpusetMems: "0" });
});

test("other CPUs than those that were its own are taken, however many: they are no limit", async () => {
  const { world, machineId, update } = await running();
  await update({ cpuQuotaUs: -1, cpusetCpus: "2-3" });
  await update({ cpusetCpus: "0-7" });
  expect(world.hypervisor.tunedTo(machineId)).toEqual({ shares: 1024, count: 2, cpuset: "0-7" });
});

test("fewer CPUs than it was started with leave its vCPUs, and as many may come back", async () => {
  const { world, machineId, update } = await running();
  await update({ cpuQuotaUs: 50_000 });
  await update({ cpuQuotaUs: 200_000 });
  expect(world.hypervisor.tunedTo(machineId)).toMatchObject({ quotaUs: 200_000, count: 2 });
});

test("memory goes down and up again, to what it was started with", async () => {
  const { world, engine, machineId, update } = await running();
  const atFirst = world.hypervisor.memoryOf(machineId) ?? 0;
  await update({ memoryLimitBytes: 768 << 20 });
  expect(world.hypervisor.memoryOf(machineId)).toBe(atFirst - (256 << 20));
  expect(resourcesInForce(engine.pods.machine(machineId)).memoryLimitBytes).toBe(768 << 20);
  await update({ memoryLimitBytes: 1 << 30 });
  expect(world.hypervisor.memoryOf(machineId)).toBe(atFirst);
});

test("a guest that gives no memory back keeps it, and its limit", async () => {
  const { world, engine, machineId, update } = await running();
  world.hypervisor.keepMemory(machineId);
  const refusal = update({ memoryLimitBytes: 768 << 20, cpuShares: 2 });
  await expect(refusal).rejects.toMatchObject({ failure: { code: "WRONG_STATE" } });
  await expect(refusal).rejects.toThrow(/^linux.memory_limit_in_bytes: .*672Mi, and after 50 ms it has 928Mi/);
  expect(resourcesInForce(engine.pods.machine(machineId))).toEqual(AT_FIRST);
  const lastCalls = world.hypervisor.calls.map(({ call }) => call);
  expect(lastCalls.slice(-1)).toEqual(["setMemory"]); // back to what it was
  expect(lastCalls).not.toContain("tune");
});

test("a guest that ends while it is to give memory back is told of at once", async () => {
  const { world, engine, machineId, update } = await running(new World({ giveBackMs: 60_000 }));
  world.hypervisor.keepMemory(machineId);
  const refusal = update({ memoryLimitBytes: 768 << 20 }).catch((error: unknown) => error);
  await expect.poll(() => world.hypervisor.calls.at(-1)?.call).toBe("sizes");
  world.hypervisor.end(machineId, "shutdown");
  await engine.pods.until(machineId, ({ at }) => at === "exited", soon());
  expect(statusOf(await refusal).details).toContain("its VM is off");
});

test.each(["beforeCall", "afterCall"] as const)("a change that fails half-way (%s) is taken back", async (when) => {
  const { world, engine, machineId, update } = await running();
  await update({ cpuShares: 512 });
  const before = [world.hypervisor.memoryOf(machineId), world.hypervisor.tunedTo(machineId)];
  let failures = 0;
  world.hypervisor[when] = (call) => {
    if (call === "tune" && failures++ === 0) throw new Error("no such CPU");
  };
  await expect(update({ memoryLimitBytes: 768 << 20, cpuShares: 2 })).rejects.toThrow("no such CPU");
  expect([world.hypervisor.memoryOf(machineId), world.hypervisor.tunedTo(machineId)]).toEqual(before);
  expect(resourcesInForce(engine.pods.machine(machineId))).toEqual({ ...AT_FIRST, cpuShares: 512 });
});

test("a change that cannot be recorded is taken back, from the disk too", async () => {
  const { world, machineId, update } = await running();
  await update({ cpuShares: 512 });
  const tuned = world.hypervisor.tunedTo(machineId);
  const save = world.store.saveMachineResources.bind(world.store);
  world.store.saveMachineResources = async (...args) => {
    world.store.saveMachineResources = save;
    await save(...args);
    throw new Error("no answer from the disk");
  };
  await expect(update({ cpuShares: 2 })).rejects.toThrow("no answer from the disk");
  expect(world.hypervisor.tunedTo(machineId)).toEqual(tuned);
  const again = await world.start();
  expect(resourcesInForce(again.engine.pods.machine(machineId))).toEqual({ ...AT_FIRST, cpuShares: 512 });
});

test("a machine whose change before its start failed starts as its record says", async () => {
  const world = new World();
  await world.images.pull(IMAGE, soon());
  const { engine } = await world.start();
  const podId = await engine.runPod(podSpec(), soon());
  const machineId = await engine.createMachine(podId, machineSpec({ resources: AT_FIRST }), soon());
  const before = world.hypervisor.planOf(machineId);
  world.hypervisor.afterCall = (call) => {
    if (call === "define") throw new Error("no answer from libvirtd");
  };
  await expect(engine.updateMachine(machineId, { memoryLimitBytes: 2 ** 31 }, soon())).rejects.toThrow("no answer");
  world.hypervisor.afterCall = () => {};
  expect(resourcesInForce(engine.pods.machine(machineId))).toEqual(AT_FIRST);
  await engine.startMachine(machineId, soon());
  expect(world.hypervisor.planOf(machineId)).toEqual(before);
});

test.each<[string, Resources, string, RegExp]>([
  ["more memory", { memoryLimitBytes: 2 ** 31 }, "WRONG_STATE", /^linux.memory_limit_in_bytes: .* started with, 928Mi/],
  ["more vCPUs", { cpuQuotaUs: 250_000 }, "WRONG_STATE", /^linux.cpu_quota: .*has 2 vCPUs, .* of use to 3 only/],
  ["too little memory", { memoryLimitBytes: 1 << 20 }, "SPEC_INVALID", /^linux.memory_limit_in_bytes: /],
  [
    "a period that none can have",
    { cpuPeriodUs: -1, memoryLimitBytes: 768 << 20 },
    "SPEC_INVALID",
    /^linux.cpu_period: -1 is not/,
  ],
  ["CPUs that are none", { cpusetCpus: "all" }, "SPEC_INVALID", /^linux.cpuset_cpus: "all" is no list of CPUs/],
  ["nodes that are none", { cpusetMems: "-1" }, "SPEC_INVALID", /^linux.cpuset_mems: "-1" is no list of memory nodes/],
])("%s is refused with the field and the reason, and nothing is changed", async (_what, change, code, why) => {
  const { world, engine, machineId, update } = await running();
  const refusal = update({ ...change, cpuShares: 2 });
  await expect(refusal).rejects.toMatchObject({ failure: { code } });
  await expect(refusal).rejects.toThrow(why);
  expect(resourcesInForce(engine.pods.machine(machineId))).toEqual(AT_FIRST);
  expect(world.hypervisor.tunedTo(machineId)).toBeUndefined();
  expect(world.hypervisor.memoryOf(machineId)).toBe(928 << 20);
});

test("a machine that was not started yet can become any other", async () => {
  const world = new World();
  await world.images.pull(IMAGE, soon());
  const { engine } = await world.start();
  const podId = await engine.runPod(podSpec(), soon());
  const machineId = await engine.createMachine(podId, machineSpec({ resources: AT_FIRST }), soon());
  await engine.updateMachine(machineId, { memoryLimitBytes: 2 ** 31, cpuQuotaUs: 400_000, cpusetCpus: "2" }, soon());
  const memoryBytes = 2 ** 31 - (96 << 20);
  const cpu = { count: 4, shares: 1024, periodUs: 100_000, quotaUs: 400_000, cpuset: "2" };
  expect(world.hypervisor.planOf(machineId)).toMatchObject({ memoryBytes, cpu });
  await engine.startMachine(machineId, soon());
  expect(world.hypervisor.planOf(machineId)).toMatchObject({ memoryBytes, cpu });
  await engine.updateMachine(machineId, { memoryLimitBytes: 2 ** 30 }, soon());
  expect(world.hypervisor.memoryOf(machineId)).toBe(2 ** 30 - (96 << 20));
});

test("an exited machine is not changed any more, and an unknown one is not there", async () => {
  const { engine, machineId, update } = await running();
  await engine.stopMachine(machineId, 0, soon());
  await expect(update({ cpuShares: 2 })).rejects.toThrow(/has exited/);
  await engine.removeMachine(machineId, soon());
  await expect(update({ cpuShares: 2 })).rejects.toMatchObject({ failure: { code: "MACHINE_NOT_FOUND" } });
});
