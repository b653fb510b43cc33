import { expect, test } from "vitest";
import type { MachineId } from "../../../src/model/ids.ts";
import { someUsage } from "../../fakes/meter.ts";
import { IMAGE, machineSpec, podSpec, soon, World } from "./world.ts";

async function running(world = new World(), name = "web") {
  await world.images.pull(IMAGE, soon());
  const { engine } = world.living ?? (await world.start());
  const podId = await engine.runPod(podSpec({ name, uid: `uid-${name}` }), soon());
  const machineId = await engine.createMachine(podId, machineSpec(), soon());
  await engine.startMachine(machineId, soon());
  const uses = (totalNanos: number) => world.meter.machines.set(machineId, someUsage(world.clock.now, totalNanos));
  return { world, engine, podId, machineId, uses };
}

const ofAll = async ({ engine }: Awaited<ReturnType<typeof running>>) => engine.stats.running(engine.pods.machines());

test("who asks twice in a second gets the same measurement; later, a new one with the rate between them", async () => {
  const at = await running();
  at.uses(1e9);
  expect((await ofAll(at))[0]).toMatchObject({ usage: { cpu: { totalNanos: 1e9 } } });
  expect((await ofAll(at))[0]?.nanoCores).toBeUndefined();
  expect(at.world.meter.measured).toBe(1);
  at.world.clock.now += 2_000;
  at.uses(2e9);
  expect((await ofAll(at))[0]).toMatchObject({ usage: { cpu: { totalNanos: 2e9 } }, nanoCores: 5e8 });
  expect(at.world.meter.measured).toBe(2);
});

test("a clock that went back gives a new measurement, and no rate", async () => {
  const at = await running();
  at.uses(1e9);
  await ofAll(at);
  at.world.clock.now -= 3_600_000;
  at.uses(2e9);
  const [stats] = await ofAll(at);
  expect(stats?.usage?.cpu.totalNanos).toBe(2e9);
  expect(stats?.nanoCores).toBeUndefined();
});

test("a machine that does not run is in no list, and still says what its disk takes", async () => {
  const at = await running();
  at.uses(1e9);
  const { overlayPath } = at.world.store.pathsOf(at.podId, at.machineId);
  at.world.meter.disks.set(overlayPath, { usedBytes: 4096, usedInodes: 1 });
  await at.engine.stopMachine(at.machineId, 0, soon());
  expect(await ofAll(at)).toEqual([]);
  const [stats] = await at.engine.stats.of([at.engine.pods.machine(at.machineId)]);
  expect(stats).toMatchObject({ disk: { usedBytes: 4096, usedInodes: 1 } });
  expect(stats?.usage).toBeUndefined();
});

test("one that ends while it is measured costs the list nothing", async () => {
  const world = new World();
  const first = await running(world, "first");
  const second = await running(world, "second");
  second.uses(1e9);
  expect((await ofAll(first)).map(({ machine }) => machine.facts.machineId)).toEqual([second.machineId]);
});

test("what is measured is measured without libvirt", async () => {
  const at = await running();
  at.uses(1e9);
  at.world.hypervisor.goAway();
  expect(await ofAll(at)).toHaveLength(1);
});

test("a pod has its machine's figures and its network's", async () => {
  const at = await running();
  at.uses(1e9);
  const network = { atMs: 1, interfaces: [{ name: "eth0", rxBytes: 1, rxErrors: 0, txBytes: 2, txErrors: 0 }] };
  at.world.meter.networks.set(at.podId, network);
  const [stats] = await at.engine.stats.ofPods(at.engine.pods.pods(), soon());
  expect(stats).toMatchObject({ network, machines: [{ usage: { cpu: { totalNanos: 1e9 } } }] });
});

test("two hundred are measured in slices, so that nobody else waits for all of them", async () => {
  const at = await running();
  at.uses(1e9);
  const record = at.engine.pods.machine(at.machineId);
  const many = Array.from({ length: 200 }, (_, index) => {
    const machineId = index.toString(16).padStart(64, "0") as MachineId;
    at.world.meter.machines.set(machineId, someUsage(1, 1));
    return { ...record, facts: { ...record.facts, machineId } };
  });
  let turns = 0;
  const count = (): void => void (turns++, (timer = setImmediate(count)));
  let timer = setImmediate(count);
  const measured = await at.engine.stats.running(many);
  clearImmediate(timer);
  expect(measured).toHaveLength(200);
  expect(turns).toBeGreaterThan(10);
});

test("the machines' files are walked once a minute, however often it is asked, and it is told when", async () => {
  const world = new World();
  let walks = 0;
  world.store.usage = async () => ({ mountpoint: "/", usedBytes: 4096, usedInodes: (walks += 1) });
  const { engine } = await world.start();
  const walkedAtMs = world.clock.now;
  const first = await engine.diskUsage();
  expect(first).toEqual({ mountpoint: "/", usedBytes: 4096, usedInodes: 1, atMs: walkedAtMs });
  world.clock.now += 59_000;
  expect(await engine.diskUsage()).toEqual(first);
  world.clock.now += 2_000;
  expect(await Promise.all([engine.diskUsage(), engine.diskUsage()])).toMatchObject([
    { usedInodes: 2, atMs: walkedAtMs + 61_000 },
    { usedInodes: 2 },
  ]);
});
