// What the kubelet is told of a machine's life, and what a person with virsh can and cannot change about it.

import { expect, test } from "vitest";
import { VmletError } from "../../../src/model/failure.ts";
import type { MachineId, PodId } from "../../../src/model/ids.ts";
import { IMAGE, machineSpec, podSpec, soon, World } from "./world.ts";

async function running(over: Parameters<typeof machineSpec>[0] = {}) {
  const world = new World();
  await world.images.pull(IMAGE, soon());
  const living = await world.start();
  const { engine } = living;
  const podId = await engine.runPod(podSpec(), soon());
  const machineId = await engine.createMachine(podId, machineSpec(over), soon());
  await engine.startMachine(machineId, soon());
  return { world, living, engine, podId, machineId };
}

const exited = async (at: { engine: Awaited<ReturnType<typeof running>>["engine"]; machineId: MachineId }) => {
  const state = await at.engine.pods.until(at.machineId, ({ at: is }) => is === "exited", soon());
  return state?.at === "exited" ? state.exit : undefined;
};

test("a guest that powers itself off is exited with 0", async () => {
  const at = await running();
  at.world.hypervisor.end(at.machineId, "shutdown");
  expect(await exited(at)).toMatchObject({ exitCode: 0, reason: "Completed" });
});

test("a machine that is moved into its pod's cgroup is there before its guest runs, and not any more when it has ended", async () => {
  const { world, engine } = await running();
  const podId = await engine.runPod(podSpec({ uid: "uid-2", name: "moved", cgroupParent: "/kubepods/pod2" }), soon());
  const machineId = await engine.createMachine(podId, machineSpec(), soon());
  world.mishaps.plan(new Map());
  await engine.startMachine(machineId, soon());
  const steps = ["hypervisor.startPaused", "machineCgroups.place", "hypervisor.resume"];
  expect(world.mishaps.calls.filter((call) => steps.includes(call))).toEqual(steps);
  const pid = await world.hypervisor.pidOf({ machineId });
  expect([...world.machineCgroups.placed.values()]).toMatchObject([{ machineId, pid, cgroupPath: "/kubepods/pod2" }]);
  world.hypervisor.end(machineId, "crashed");
  await exited({ engine, machineId });
  expect([...world.machineCgroups.placed]).toEqual([]);
});

test("a machine destroyed from outside is exited with 137", async () => {
  const at = await running();
  at.world.hypervisor.end(at.machineId, "destroyed");
  expect(await exited(at)).toMatchObject({ exitCode: 137, reason: "Error" });
});

test("a guest that crashes is exited with 255", async () => {
  const at = await running();
  at.world.hypervisor.end(at.machineId, "crashed");
  expect(await exited(at)).toMatchObject({ exitCode: 255, reason: "Error" });
});

test("a guest whose QEMU the kernel ended for want of memory is OOMKilled with 137; one that it did not is a crash", async () => {
  const at = await running();
  const pid = await at.world.hypervisor.pidOf(at);
  if (pid === undefined) throw new Error("it runs without a pid");
  at.world.meter.killedForMemory.add(pid);
  at.world.hypervisor.end(at.machineId, "crashed");
  expect(await exited(at)).toMatchObject({
    exitCode: 137,
    reason: "OOMKilled",
    message: expect.stringContaining("memory"),
  });
  const other = await running();
  other.world.meter.killedForMemory.add(1);
  other.world.hypervisor.end(other.machineId, "crashed");
  expect(await exited(other)).toMatchObject({ exitCode: 255, reason: "Error" });
});

test("a machine whose end could not be looked at when it was told is looked at again", async () => {
  const at = await running();
  const behindEarlierLooks = at.engine.createMachine(at.podId, machineSpec({ name: "second" }), soon());
  await expect(behindEarlierLooks).rejects.toMatchObject({ failure: { code: "WRONG_STATE" } });
  let failures = 0;
  at.world.hypervisor.beforeCall = (call) => {
    if (call === "look" && failures++ === 0) throw new Error("libvirtd is busy");
  };
  at.world.hypervisor.end(at.machineId, "shutdown");
  expect(await exited(at)).toMatchObject({ exitCode: 0, reason: "Completed" });
  expect(failures).toBeGreaterThan(1);
});

test("a guest that reboots in a loop costs one look at a time, and its Stop does not wait behind a thousand", async () => {
  const at = await running();
  const gate = Promise.withResolvers<void>();
  let looks = 0;
  at.world.hypervisor.beforeCall = async (call) => {
    if (call !== "look") return;
    looks += 1;
    await gate.promise;
  };
  for (let times = 0; times < 1_000; times++) at.world.hypervisor.reboot(at.machineId);
  const stopping = at.engine.stopMachine(at.machineId, 0, soon());
  gate.resolve();
  await stopping;
  expect(looks).toBeLessThan(10);
});

test("a guest of which something happens all the time is looked at less and less often, and its end is told", async () => {
  const at = await running();
  let looks = 0;
  at.world.hypervisor.beforeCall = async (call) => void (looks += Number(call === "look"));
  const happening = setInterval(() => at.world.hypervisor.reboot(at.machineId), 5);
  await new Promise((resolve) => setTimeout(resolve, 2_500));
  clearInterval(happening);
  expect(looks).toBeLessThan(8);
  at.world.hypervisor.end(at.machineId, "shutdown");
  expect(await exited(at)).toMatchObject({ exitCode: 0 });
});

test("the workload's own exit status is the container's", async () => {
  const at = await running({ command: ["/bin/job"] });
  at.world.seed.reports.set(at.world.store.pathsOf(at.podId, at.machineId).initReportPath, 3);
  at.world.hypervisor.end(at.machineId, "shutdown");
  expect(await exited(at)).toMatchObject({ exitCode: 3, reason: "Error" });
});

test("a guest that obeys within the grace period exits with 0, and the call waits for it", async () => {
  const at = await running();
  await at.engine.stopMachine(at.machineId, 30_000, soon());
  expect(await exited(at)).toMatchObject({ exitCode: 0 });
  expect(at.world.hypervisor.calls.some(({ call }) => call === "askToPowerOff")).toBe(true);
});

test("a command that was still running when its guest obeyed is no success: 143, unless it told another status", async () => {
  const at = await running({ args: ["job"] });
  await at.engine.stopMachine(at.machineId, 30_000, soon());
  expect(await exited(at)).toMatchObject({
    exitCode: 143,
    reason: "Error",
    message: expect.stringContaining("command"),
  });

  const done = await running({ command: ["/bin/job"] });
  done.world.seed.reports.set(done.world.store.pathsOf(done.podId, done.machineId).initReportPath, 0);
  await done.engine.stopMachine(done.machineId, 30_000, soon());
  expect(await exited(done)).toMatchObject({ exitCode: 0, reason: "Completed" });
});

test("a deaf guest is destroyed at the end of the grace period", async () => {
  const world = new World();
  world.hypervisor.manners = "deaf";
  await world.images.pull(IMAGE, soon());
  const { engine } = await world.start();
  const podId = await engine.runPod(podSpec(), soon());
  const machineId = await engine.createMachine(podId, machineSpec(), soon());
  await engine.startMachine(machineId, soon());
  const stopping = engine.stopMachine(machineId, 60_000, soon());
  await engine.pods.until(machineId, ({ at }) => at === "stopping", soon());
  await engine.stopMachine(machineId, 0, soon()); // a shorter grace period wins
  await stopping;
  expect(await exited({ engine, machineId })).toMatchObject({ exitCode: 137 });
});

test("a second container in a pod is refused with the reason while the first lives, and taken after it", async () => {
  const at = await running();
  const second = machineSpec({ name: "sidecar" });
  await expect(at.engine.createMachine(at.podId, second, soon())).rejects.toMatchObject({
    failure: { code: "WRONG_STATE" },
    message: expect.stringContaining("one container at a time"),
  });
  await at.engine.stopMachine(at.machineId, 0, soon());
  await expect(at.engine.createMachine(at.podId, second, soon())).resolves.toBeDefined();
});

test("exited is final: a domain started by hand is not wired, warned of, and powered off by the next attempt", async () => {
  const at = await running();
  await at.engine.stopMachine(at.machineId, 0, soon());
  at.world.hypervisor.startByHand(at.machineId);
  await expect.poll(() => at.engine.pods.conditionOf(at.machineId)).toContain("started by hand");
  expect(at.engine.pods.machine(at.machineId).state.at).toBe("exited");
  expect(at.world.wiring.wired.has(at.podId)).toBe(false);

  const next = await at.engine.createMachine(at.podId, machineSpec({ attempt: 1 }), soon());
  await at.engine.startMachine(next, soon());
  const sighting = await at.world.hypervisor.look(at.machineId, soon());
  expect(sighting?.condition.is).toBe("off");
});

test("a restarted daemon warns of a domain started by hand while it was away", async () => {
  const at = await running();
  await at.engine.stopMachine(at.machineId, 0, soon());
  at.world.hypervisor.startByHand(at.machineId);
  const revived = await at.world.start();
  await revived.recover(soon());
  expect(revived.engine.pods.conditionOf(at.machineId)).toContain("started by hand");
});

test("an attempt that was never started makes way for the next one, as the kubelet creates it", async () => {
  const world = new World();
  await world.images.pull(IMAGE, soon());
  const { engine } = await world.start();
  const podId = await engine.runPod(podSpec(), soon());
  const first = await engine.createMachine(podId, machineSpec(), soon());
  await expect(engine.createMachine(podId, machineSpec({ name: "sidecar" }), soon())).rejects.toMatchObject({
    failure: { code: "WRONG_STATE" },
  });
  const next = await engine.createMachine(podId, machineSpec({ attempt: 1 }), soon());
  expect(engine.pods.machine(first).state).toMatchObject({ at: "exited", exit: { exitCode: 137 } });
  await engine.startMachine(next, soon());
  expect(engine.pods.machine(next).state.at).toBe("running");
});

test("an attempt whose start failed and could not be undone makes way for the next one", async () => {
  const world = new World();
  await world.images.pull(IMAGE, soon());
  const { engine } = await world.start();
  const podId = await engine.runPod(podSpec(), soon());
  const first = await engine.createMachine(podId, machineSpec(), soon());
  world.hypervisor.beforeCall = (call) => {
    if (call === "resume" || call === "destroy") throw new Error(`${call}: QEMU does not answer`);
  };
  await expect(engine.startMachine(first, soon())).rejects.toThrow("could not be undone");
  world.hypervisor.beforeCall = () => {};
  const second = await engine.createMachine(podId, machineSpec({ attempt: 1 }), soon());
  expect(engine.pods.machine(first).state).toMatchObject({ at: "exited" });
  await engine.startMachine(second, soon());
  expect(engine.pods.machine(second).state).toMatchObject({ at: "running" });
});

test("a start that libvirt finished after we gave it up does not stand in the way of the next one", async () => {
  const world = new World();
  await world.images.pull(IMAGE, soon());
  const { engine } = await world.start();
  const podId = await engine.runPod(podSpec(), soon());
  const machineId = await engine.createMachine(podId, machineSpec(), soon());
  world.hypervisor.startByHand(machineId);
  await engine.startMachine(machineId, soon());
  expect(engine.pods.machine(machineId).state.at).toBe("running");
});

test("CreateContainer repeated gives the same machine; with another spec it is refused", async () => {
  const world = new World();
  await world.images.pull(IMAGE, soon());
  const { engine } = await world.start();
  const podId = await engine.runPod(podSpec(), soon());
  const first = await engine.createMachine(podId, machineSpec(), soon());
  expect(await engine.createMachine(podId, machineSpec(), soon())).toBe(first);
  await expect(engine.createMachine(podId, machineSpec({ args: ["x"] }), soon())).rejects.toMatchObject({
    failure: { code: "NAME_TAKEN" },
  });
});

test("RunPodSandbox repeated gives the same pod, also when both run at once", async () => {
  const world = new World();
  const { engine } = await world.start();
  const [one, two] = await Promise.all([engine.runPod(podSpec(), soon()), engine.runPod(podSpec(), soon())]);
  expect(one).toBe(two);
  await expect(engine.runPod(podSpec({ hostname: "other" }), soon())).rejects.toMatchObject({
    failure: { code: "NAME_TAKEN" },
  });
});

test("pods whose names read the same and are not are two", async () => {
  const { engine } = await new World().start();
  const [a, b] = [podSpec({ namespace: "a/b", name: "c" }), podSpec({ namespace: "a", name: "b/c" })];
  expect(await engine.runPod(a, soon())).not.toBe(await engine.runPod(b, soon()));
});

test("unknown ids are no error for Stop and Remove", async () => {
  const world = new World();
  const { engine } = await world.start();
  await engine.stopPod("f".repeat(64) as PodId, soon());
  await engine.removePod("f".repeat(64) as PodId, soon());
  await engine.stopMachine("f".repeat(64) as MachineId, 0, soon());
  await engine.removeMachine("f".repeat(64) as MachineId, soon());
});

test("a node reboot leaves pods not ready and machines exited, and everything can be removed", async () => {
  const at = await running();
  at.world.netns.existing.clear();
  at.world.wiring.wired.clear();
  at.world.hypervisor.end(at.machineId, "destroyed");
  const revived = await at.world.start();
  await revived.recover(soon());
  expect(revived.engine.pods.pod(at.podId).state.at).toBe("stopped");
  expect(revived.engine.pods.machine(at.machineId).state.at).toBe("exited");
  expect(at.world.network.attached.size).toBe(0);
  await revived.engine.removePod(at.podId, soon());
  expect(await at.world.leftovers()).toEqual({});
});

test("a pod that lost its network while its guest runs is the kubelet's to stop: nobody tries to wire it", async () => {
  const at = await running();
  at.world.netns.existing.clear();
  at.world.wiring.wired.clear();
  const revived = await at.world.start();
  await revived.recover(soon());
  expect(revived.engine.pods.pod(at.podId).state.at).toBe("stopping");
  at.world.hypervisor.pauseByHand(at.machineId);
  await expect.poll(() => revived.engine.pods.conditionOf(at.machineId)).toContain("paused");
  expect(at.world.wiring.wired.size).toBe(0);
  await revived.engine.stopPod(at.podId, soon());
  await revived.engine.removePod(at.podId, soon());
  expect(await at.world.leftovers()).toEqual({});
});

test("a restarted daemon takes up a running machine with its id, start time and address", async () => {
  const at = await running();
  const before = at.engine.pods.machine(at.machineId);
  const revived = await at.world.start();
  at.world.consoleLogs.followed.clear();
  await revived.recover(soon());
  expect(revived.engine.pods.machine(at.machineId)).toEqual(before);
  expect(at.world.consoleLogs.followed.has(at.machineId)).toBe(true);
});

test.each(["list", "look"] as const)("recovery whose %s libvirt did not answer is gone on with", async (failing) => {
  const at = await running();
  at.world.hypervisor.rebootNode();
  let failures = 0;
  at.world.hypervisor.beforeCall = (call) => {
    if (call === failing && failures++ === 0) throw new Error("no answer within 10 s");
  };
  const revived = await at.world.start();
  await revived.recover(soon()).catch(() => {});
  expect(revived.engine.pods.machine(at.machineId).state.at).toBe("running");
  expect(await exited({ engine: revived.engine, machineId: at.machineId })).toMatchObject({ exitCode: 137 });
  await revived[Symbol.asyncDispose]();
});

test("a definition that libvirt carries out after we gave it up goes with the pod, and the next try is not in its way", async () => {
  const world = new World();
  await world.images.pull(IMAGE, soon());
  const { engine } = await world.start();
  const podId = await engine.runPod(podSpec(), soon());
  const late: MachineId[] = [];
  world.hypervisor.beforeCall = (call, machineId) => {
    if (call !== "define" || machineId === undefined || late.length > 0) return;
    late.push(machineId);
    throw new VmletError({ code: "TIMED_OUT", doing: "define", limitMs: 30_000 }, "no answer from libvirtd");
  };
  await expect(engine.createMachine(podId, machineSpec(), soon())).rejects.toMatchObject({
    failure: { code: "TIMED_OUT" },
  });
  const machineId = await engine.createMachine(podId, machineSpec(), soon());
  const plan = world.hypervisor.planOf(machineId);
  if (!plan || !late[0]) throw new Error("nothing was defined");
  await world.hypervisor.define({ ...plan, machineId: late[0] }, soon()); // libvirt, late
  await engine.startMachine(machineId, soon());
  await engine.removePod(podId, soon());
  expect(await world.leftovers()).toEqual({});
});
