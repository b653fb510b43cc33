import { expect, test } from "vitest";
import type { PodEvent, PodEvents } from "../../../src/engine/pod-events.ts";
import { IMAGE, machineSpec, podSpec, soon, World } from "./world.ts";

async function world() {
  const world = new World();
  await world.images.pull(IMAGE, soon());
  const { engine } = await world.start();
  return { world, engine };
}

/** Reads until as many have come. */
async function take(events: ReturnType<PodEvents["subscribe"]>, count: number): Promise<PodEvent[]> {
  const taken: PodEvent[] = [];
  while (taken.length < count) {
    const { value, done } = await events.next();
    if (done === true) throw new Error(`ended after ${taken.length}`);
    taken.push(value);
  }
  return taken;
}

test("the life of a pod is told in its order, each moment with what was true then", async () => {
  const { engine } = await world();
  const events = engine.events.subscribe(soon());
  const podId = await engine.runPod(podSpec(), soon());
  const machineId = await engine.createMachine(podId, machineSpec(), soon());
  await engine.startMachine(machineId, soon());
  await engine.stopPod(podId, soon());
  await engine.removePod(podId, soon());
  const told = await take(events, 8);
  expect(
    told.map(({ type, id, pod, machines }) => [
      type,
      id === podId ? "pod" : "machine",
      pod.state.at,
      machines.map(({ machine }) => machine.state.at).join(),
    ]),
  ).toEqual([
    ["created", "pod", "ready", ""],
    ["started", "pod", "ready", ""],
    ["created", "machine", "ready", "created"],
    ["started", "machine", "ready", "running"],
    ["stopped", "machine", "stopping", "exited"],
    ["stopped", "pod", "stopping", "exited"], // its network is still being given back
    ["deleted", "machine", "stopped", ""],
    ["deleted", "pod", "stopped", ""],
  ]);
  expect(told.every(({ id }) => id === podId || id === machineId)).toBe(true);
});

test("a guest that ends by itself is told of, and so is a machine that is removed without having run", async () => {
  const { world: at, engine } = await world();
  const podId = await engine.runPod(podSpec(), soon());
  const first = await engine.createMachine(podId, machineSpec(), soon());
  await engine.startMachine(first, soon());
  const events = engine.events.subscribe(soon());
  at.hypervisor.end(first, "shutdown");
  const [ended] = await take(events, 1);
  expect(ended).toMatchObject({
    type: "stopped",
    id: first,
    machines: [{ machine: { state: { exit: { exitCode: 0 } } } }],
  });
  const second = await engine.createMachine(podId, machineSpec({ attempt: 1 }), soon());
  await engine.removeMachine(second, soon());
  const told = await take(events, 3);
  expect(told.map(({ type, id }) => [type, id === second])).toEqual([
    ["created", true],
    ["stopped", true],
    ["deleted", true],
  ]);
});

test("a creation that failed is told of by nobody", async () => {
  const { world: at, engine } = await world();
  const podId = await engine.runPod(podSpec(), soon());
  const events = engine.events.subscribe(soon());
  at.hypervisor.beforeCall = (call) => {
    if (call === "define") throw new Error("no");
  };
  await expect(engine.createMachine(podId, machineSpec(), soon())).rejects.toThrow("no");
  at.hypervisor.beforeCall = () => {};
  const machineId = await engine.createMachine(podId, machineSpec(), soon());
  expect((await take(events, 1))[0]).toMatchObject({ type: "created", id: machineId });
});

test.each(["undone at once", "undone later"])("a pod that did not come up is told of by nobody: %s", async (how) => {
  const { world: at, engine } = await world();
  const events = engine.events.subscribe(soon());
  at.network.failing.set("attach", new Error("no address"));
  if (how === "undone later") at.network.failing.set("detach", new Error("ipam is away"));
  await expect(engine.runPod(podSpec(), soon())).rejects.toThrow();
  at.network.failing.clear();
  const [left] = engine.pods.pods();
  if (left !== undefined) {
    await engine.stopPod(left.facts.podId, soon());
    await engine.removePod(left.facts.podId, soon());
  }
  expect(engine.pods.pods()).toEqual([]);
  const podId = await engine.runPod(podSpec(), soon());
  expect((await take(events, 1))[0]).toMatchObject({ type: "created", id: podId });
});

test("many subscribers hear the same; one that does not read ends alone, and is told why", async () => {
  const { engine } = await world();
  const readers = Array.from({ length: 50 }, () => engine.events.subscribe(soon()));
  const idle = engine.events.subscribe(soon());
  const heard = Promise.all(readers.map(async (reader) => await take(reader, 1200)));
  for (let number = 0; number < 300; number++) {
    const podId = await engine.runPod(podSpec({ name: `p${number}` }), soon());
    await engine.removePod(podId, soon());
  }
  const all = await heard;
  expect(new Set(all.map((events) => JSON.stringify(events.map(({ type, id }) => [type, id])))).size).toBe(1);
  await expect(idle.next()).rejects.toMatchObject({ failure: { code: "SUBSCRIBER_TOO_SLOW", limit: 1000 } });
  expect(await idle.next()).toMatchObject({ done: true });
});

test("a subscription ends with its signal, at once", async () => {
  const { engine } = await world();
  const controller = new AbortController();
  const events = engine.events.subscribe(controller.signal);
  const next = events.next();
  controller.abort(new Error("gone"));
  await expect(next).rejects.toThrow("gone");
});

test("a restart tells nothing of what is as it was", async () => {
  const { world: at, engine } = await world();
  const podId = await engine.runPod(podSpec(), soon());
  const machineId = await engine.createMachine(podId, machineSpec(), soon());
  await engine.startMachine(machineId, soon());
  const again = await at.start();
  const events = again.engine.events.subscribe(soon());
  await again.recover(soon());
  await again.engine.stopMachine(machineId, 0, soon());
  expect((await take(events, 1))[0]).toMatchObject({ type: "stopped", id: machineId });
});
