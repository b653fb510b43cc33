// What CNI gave is given back, however often its DEL fails and whoever asked for it.

import { expect, test } from "vitest";
import { podSpec, soon, World } from "./world.ts";

const LATER = { timeout: 10_000 };

async function readyPod() {
  const world = new World();
  const living = await world.start();
  const podId = await living.engine.runPod(podSpec(), soon());
  return { world, living, podId };
}

test("a DEL that failed is tried again until it succeeds, without another call; meanwhile the pod says why", async () => {
  const { world, living, podId } = await readyPod();
  await using _engine = living;
  world.network.failing.set("detach", new Error("ipam is away"));
  await expect(living.engine.stopPod(podId, soon())).rejects.toThrow("ipam is away");
  expect(living.engine.pods.pod(podId).state).toMatchObject({ at: "stopping", error: "Error: ipam is away" });
  const tries = (): number => world.network.calls.filter((call) => call.startsWith("detach")).length;
  await expect.poll(tries, LATER).toBe(2);
  world.network.failing.clear();
  await expect.poll(() => living.engine.pods.pod(podId).state.at, LATER).toBe("stopped");
  expect(world.network.attached.size).toBe(0);
  expect(world.netns.existing.size).toBe(0);
});

test("a pod that could not be undone goes altogether once it can be", async () => {
  const world = new World();
  await using living = await world.start();
  world.network.failing.set("attach", new Error("no address"));
  world.netns.failing.set("remove", new Error("busy"));
  await expect(living.engine.runPod(podSpec(), soon())).rejects.toThrow("could not be undone");
  world.netns.failing.clear();
  await expect.poll(async () => await world.leftovers(), LATER).toEqual({});
});

test("a Stop that a daemon's death cut off is finished by the next daemon", async () => {
  const { world, podId } = await readyPod();
  const record = (await world.store.load(soon())).pods[0];
  if (record?.state.at !== "ready") throw new Error("no pod");
  await world.store.savePodState(podId, { at: "stopping", attachment: record.state.attachment });
  await using revived = await world.start();
  await revived.recover(soon());
  expect(revived.engine.pods.pod(podId).state.at).toBe("stopped");
  expect(world.network.attached.size).toBe(0);
});

test("a Stop that is repeated after its caller's deadline waits for the first: no DEL runs beside another", async () => {
  const { world, living, podId } = await readyPod();
  const gate = Promise.withResolvers<void>();
  const detach = world.network.detach.bind(world.network);
  let atOnce = 0;
  let most = 0;
  world.network.detach = async (...args) => {
    most = Math.max(most, ++atOnce);
    await gate.promise;
    await detach(...args);
    atOnce -= 1;
  };
  const first = living.engine.stopPod(podId, soon());
  await expect(living.engine.stopPod(podId, AbortSignal.timeout(1))).rejects.toThrow();
  const third = living.engine.stopPod(podId, soon());
  await new Promise((resolve) => setImmediate(resolve));
  gate.resolve();
  await Promise.all([first, third]);
  expect(most).toBe(1);
  expect(living.engine.pods.pod(podId).state.at).toBe("stopped");
});

test("plugins that hang as the daemon starts hold its start up for a moment only, and are not given up", async () => {
  const world = new World();
  const before = await world.start();
  const names = Array.from({ length: 20 }, (_, number) => `p${number}`);
  for (const name of names) await before.engine.runPod(podSpec({ name, uid: `uid-${name}` }), soon());
  world.rebootNode();
  const gate = Promise.withResolvers<void>();
  const detach = world.network.detach.bind(world.network);
  world.network.detach = async (...args) => {
    await gate.promise;
    await detach(...args);
  };
  await using after = await world.start();
  await after.recover(AbortSignal.timeout(20_000));
  const states = () => new Set(after.engine.pods.pods().map(({ state }) => state.at));
  expect([...states()]).toEqual(["stopping"]);
  gate.resolve();
  await expect.poll(() => [...states()], LATER).toEqual(["stopped"]);
  expect(world.network.attached.size).toBe(0);
}, 20_000);
