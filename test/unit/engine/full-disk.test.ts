// A full disk must not hold what would make room: pods end and go although no record can be written.

import { expect, test } from "vitest";
import { VmletError } from "../../../src/model/failure.ts";
import { IMAGE, machineSpec, podSpec, soon, World } from "./world.ts";

async function runningPod() {
  const world = new World();
  await world.images.pull(IMAGE, soon());
  const { engine } = await world.start();
  const podId = await engine.runPod(podSpec(), soon());
  const machineId = await engine.createMachine(podId, machineSpec(), soon());
  await engine.startMachine(machineId, soon());
  return { world, engine, podId, machineId };
}

function fillUp(world: World): Disposable {
  const fail = async (): Promise<never> => {
    const failure = { code: "DISK_FULL", path: "/var/lib/vmlet", neededBytes: 1, freeBytes: 0 } as const;
    throw new VmletError(failure, "no room for a record");
  };
  const saves = ["savePodState", "saveMachineState"] as const;
  for (const save of saves) world.store[save] = fail;
  return {
    [Symbol.dispose]: () => {
      for (const save of saves) Reflect.deleteProperty(world.store, save); // the class's own are behind it
    },
  };
}

test("a running pod stops and goes on a full disk, and leaves nothing", async () => {
  const { world, engine, podId, machineId } = await runningPod();
  using _full = fillUp(world);
  await engine.stopMachine(machineId, 0, soon());
  expect(engine.pods.machine(machineId).state).toMatchObject({ at: "exited", exit: { exitCode: 137 } });
  await engine.stopPod(podId, soon());
  expect(engine.pods.pod(podId).state.at).toBe("stopped");
  await engine.removePod(podId, soon());
  expect(await world.leftovers()).toEqual({});
});

test("a restart after an end that could not be recorded finds out that it has ended", async () => {
  const { world, engine, podId, machineId } = await runningPod();
  {
    using _full = fillUp(world);
    await engine.stopPod(podId, soon());
  }
  const again = await world.start();
  await again.recover(soon());
  expect(again.engine.pods.pod(podId).state.at).toBe("stopped");
  expect(again.engine.pods.machine(machineId).state.at).toBe("exited");
  await again.engine.removePod(podId, soon());
  expect(await world.leftovers()).toEqual({});
});

test("nothing new begins on a full disk", async () => {
  const { world, engine, podId, machineId } = await runningPod();
  await engine.stopMachine(machineId, 0, soon());
  const next = await engine.createMachine(podId, { ...machineSpec(), attempt: 1 }, soon());
  using _full = fillUp(world);
  await expect(engine.startMachine(next, soon())).rejects.toMatchObject({ failure: { code: "DISK_FULL" } });
  expect(engine.pods.machine(next).state.at).toBe("created");
});
