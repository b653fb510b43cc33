// An undo that fails is told, besides being logged: somebody counts it.

import { expect, test } from "vitest";
import { IMAGE, machineSpec, podSpec, soon, World } from "./world.ts";

const broken = async (): Promise<never> => Promise.reject(new Error("broken"));

test("a pod that could not be undone", async () => {
  const world = new World();
  const { engine } = await world.start();
  world.network.attach = broken;
  world.netns.remove = broken;
  await expect(engine.runPod(podSpec(), soon())).rejects.toThrow(SuppressedError);
  expect(world.undoFailures).toEqual(["run-pod"]);
});

test("a machine that could not be undone, neither when it was made nor when it was started", async () => {
  const world = new World();
  await world.images.pull(IMAGE, soon());
  const { engine } = await world.start();
  const podId = await engine.runPod(podSpec(), soon());
  const machineId = await engine.createMachine(podId, machineSpec(), soon());
  const destroy = world.hypervisor.destroy.bind(world.hypervisor);
  world.hypervisor.resume = broken;
  world.hypervisor.destroy = broken;
  await expect(engine.startMachine(machineId, soon())).rejects.toThrow(SuppressedError);
  expect(world.undoFailures).toEqual(["start-machine"]);

  world.hypervisor.destroy = destroy;
  await engine.stopMachine(machineId, 0, soon());
  await engine.removeMachine(machineId, soon());
  world.hypervisor.define = broken;
  world.hypervisor.destroy = broken;
  await expect(engine.createMachine(podId, machineSpec({ attempt: 1 }), soon())).rejects.toThrow(SuppressedError);
  expect(world.undoFailures).toEqual(["start-machine", "create-machine"]);
});

test("what fails and is undone is not told", async () => {
  const world = new World();
  const { engine } = await world.start();
  world.network.attach = broken;
  await expect(engine.runPod(podSpec(), soon())).rejects.toThrow("broken");
  expect(world.undoFailures).toEqual([]);
});
