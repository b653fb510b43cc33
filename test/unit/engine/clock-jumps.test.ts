// The node's clock is set while a guest has its grace period.

import { expect, test } from "vitest";
import { IMAGE, machineSpec, podSpec, soon, World } from "./world.ts";

const HOUR_MS = 3_600_000;

async function stopping(graceMs: number) {
  const world = new World();
  world.hypervisor.manners = "deaf";
  await world.images.pull(IMAGE, soon());
  const { engine } = await world.start();
  const podId = await engine.runPod(podSpec(), soon());
  const machineId = await engine.createMachine(podId, machineSpec(), soon());
  await engine.startMachine(machineId, soon());
  const stopped = engine.stopMachine(machineId, graceMs, soon());
  await engine.pods.until(machineId, ({ at }) => at === "stopping", soon());
  const exit = async () => {
    await stopped;
    const { state } = engine.pods.machine(machineId);
    return state.at === "exited" ? state.exit : undefined;
  };
  return { world, machineId, exit };
}

test("forward: the guest is not cut short", async () => {
  const { world, machineId, exit } = await stopping(60_000);
  world.clock.now += HOUR_MS;
  await expect.poll(() => world.hypervisor.calls.filter(({ call }) => call === "askToPowerOff").length).toBe(2);
  world.hypervisor.end(machineId, "shutdown");
  expect(await exit()).toMatchObject({ exitCode: 0, reason: "Completed" });
});

test("back: the grace period does not last longer", async () => {
  const { world, exit } = await stopping(300);
  world.clock.now -= HOUR_MS;
  expect(await exit()).toMatchObject({ exitCode: 137 });
});
