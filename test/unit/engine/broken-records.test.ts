// Records that cannot be read, and records that are lost: what they stood for is shown, kept alive, and can be ended.

import { expect, test } from "vitest";
import { FakePodStore } from "../../fakes/pod-store.ts";
import { IMAGE, machineSpec, podSpec, soon, World } from "./world.ts";

async function running() {
  const world = new World();
  await world.images.pull(IMAGE, soon());
  const { engine } = await world.start();
  const podId = await engine.runPod(podSpec({ cgroupParent: "/kubepods/pod1" }), soon());
  const machineId = await engine.createMachine(podId, machineSpec(), soon());
  await engine.startMachine(machineId, soon());
  return { world, podId, machineId };
}

/** Whose records `load` gives, and which of them are broken. */
async function restart(world: World, broken: "pod" | "machine" | "both") {
  const load = world.store.load.bind(world.store);
  world.store.load = async (signal) => {
    const stored = await load(signal);
    const [pod] = stored.pods;
    if (pod === undefined) return stored;
    return {
      pods: broken === "machine" ? stored.pods : [],
      machines: broken === "pod" ? stored.machines : [],
      broken: [{ podId: pod.facts.podId, path: "/var/lib/vmlet/pods/x", error: "half a record" }],
    };
  };
  const living = await world.start();
  world.store.load = load;
  await living.recover(soon());
  return living.engine;
}

test.each(["pod", "machine", "both"] as const)(
  "unreadable: %s. The VM goes on, the pod is shown with its error, and removing it leaves nothing",
  async (broken) => {
    const { world, podId, machineId } = await running();
    const engine = await restart(world, broken);
    expect((await world.hypervisor.look(machineId, soon()))?.condition.is).toBe("on");
    expect(engine.pods.findBroken(podId)).toMatchObject({ error: "half a record" });
    await engine.stopPod(podId, soon());
    await engine.removePod(podId, soon());
    expect(engine.pods.findBroken(podId)).toBeUndefined();
    expect(await world.leftovers()).toEqual({});
  },
);

test("lost: the VM goes on and is left alone, whatever is done with other pods", async () => {
  const { world, machineId, podId } = await running();
  const { store } = world;
  const empty = new FakePodStore();
  world.store.load = empty.load.bind(empty);
  const living = await world.start();
  world.store.load = store.load.bind(store);
  await living.recover(soon());
  expect(living.engine.pods.pods()).toEqual([]);
  const other = await living.engine.runPod(podSpec({ name: "other", uid: "uid-2" }), soon());
  await living.engine.removePod(other, soon());
  await living.engine.removePod(podId, soon()); // unknown
  expect((await world.hypervisor.look(machineId, soon()))?.condition.is).toBe("on");
  expect(world.network.attached.has(podId)).toBe(true);
});
