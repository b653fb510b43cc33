// What the kubelet reads of statistics, over the socket.

import { expect, test } from "vitest";
import { someUsage } from "../../fakes/meter.ts";
import { connectCri } from "../../node/cri-client.ts";
import { serveWorld } from "../engine/served-world.ts";
import { IMAGE, machineSpec, podSpec, soon } from "../engine/world.ts";

async function served() {
  await using undo = new AsyncDisposableStack();
  const { world, engine, socketPath } = undo.use(await serveWorld());
  await world.images.pull(IMAGE, soon());
  const cri = undo.use(connectCri(socketPath));
  const podId = await engine.runPod(podSpec(), soon());
  const resources = { memoryLimitBytes: 512 << 20 };
  const machineId = await engine.createMachine(podId, machineSpec({ labels: { foo: "bar" }, resources }), soon());
  const parts = undo.move();
  return { world, engine, cri, podId, machineId, [Symbol.asyncDispose]: () => parts.disposeAsync() };
}

test("a running container has CPU, memory, disk and swap with their times", async () => {
  await using at = await served();
  const { world, engine, cri, machineId, podId } = at;
  await engine.startMachine(machineId, soon());
  world.meter.machines.set(machineId, someUsage(world.clock.now, 5e9));
  const { overlayPath } = world.store.pathsOf(podId, machineId);
  world.meter.disks.set(overlayPath, { usedBytes: 1 << 20, usedInodes: 1 });
  const { stats } = await cri.runtime.containerStats({ containerId: machineId.slice(0, 12) }, soon());
  const timestamp = BigInt(world.clock.now) * 1_000_000n;
  expect(stats).toMatchObject({
    attributes: { id: machineId, metadata: { name: "vm", attempt: 0 }, labels: { foo: "bar" } },
    cpu: { timestamp, usageCoreNanoSeconds: { value: 5_000_000_000n } },
    memory: {
      timestamp,
      workingSetBytes: { value: BigInt(100 << 20) },
      availableBytes: { value: BigInt(412 << 20) },
      usageBytes: { value: BigInt(150 << 20) },
    },
    writableLayer: { timestamp, fsId: { mountpoint: await world.store.mountpoint() }, usedBytes: { value: 1n << 20n } },
    swap: { swapUsageBytes: { value: 0n } },
  });
});

test("lists are filtered by id, pod and labels, and have only what runs", async () => {
  await using at = await served();
  const { world, engine, cri, machineId, podId } = at;
  const ids = async (filter: { id?: string; podSandboxId?: string; labelSelector?: Record<string, string> }) => {
    const whole = { id: "", podSandboxId: "", labelSelector: {}, ...filter };
    return (await cri.runtime.listContainerStats({ filter: whole }, soon())).stats.map(
      ({ attributes }) => attributes?.id,
    );
  };
  expect(await ids({})).toEqual([]);
  await engine.startMachine(machineId, soon());
  world.meter.machines.set(machineId, someUsage(world.clock.now, 5e9));
  expect(await ids({ id: machineId })).toEqual([machineId]);
  expect(await ids({ podSandboxId: podId, labelSelector: { foo: "bar" } })).toEqual([machineId]);
  expect(await ids({ labelSelector: { foo: "baz" } })).toEqual([]);
  expect(await ids({ id: "f".repeat(64) })).toEqual([]);
  const all = await cri.runtime.listContainerStats({ filter: undefined }, soon());
  expect(all.stats).toHaveLength(1);
});

test("a pod has the figures of its machine and of its own network, without the tap's", async () => {
  await using at = await served();
  const { world, engine, cri, machineId, podId } = at;
  await engine.startMachine(machineId, soon());
  world.meter.machines.set(machineId, someUsage(world.clock.now, 5e9));
  const counters = (name: string) => ({ name, rxBytes: 10, rxErrors: 1, txBytes: 20, txErrors: 2 });
  const interfaces = ["eth0", "net1", `vm${machineId.slice(0, 12)}`].map(counters);
  world.meter.networks.set(podId, { atMs: world.clock.now, interfaces });
  const { stats } = await cri.runtime.podSandboxStats({ podSandboxId: podId }, soon());
  expect(stats).toMatchObject({
    attributes: { id: podId, metadata: { name: "web" } },
    linux: {
      cpu: { usageCoreNanoSeconds: { value: 5_000_000_000n } },
      memory: { workingSetBytes: { value: BigInt(100 << 20) } },
      network: { defaultInterface: { name: "eth0", rxBytes: { value: 10n }, txErrors: { value: 2n } } },
      process: { processCount: { value: 7n } },
      containers: [{ attributes: { id: machineId } }],
    },
  });
  expect(stats?.linux?.network?.interfaces.map(({ name }) => name)).toEqual(["net1"]);
  const list = await cri.runtime.listPodSandboxStats({ filter: { id: podId, labelSelector: { app: "web" } } }, soon());
  expect(list.stats).toHaveLength(1);
});

test("a pod whose interface is gone has no network: the kubelet looks into the default interface of every network", async () => {
  await using at = await served();
  const { world, cri, machineId, podId } = at;
  const tap = { name: `vm${machineId.slice(0, 12)}`, rxBytes: 10, rxErrors: 1, txBytes: 20, txErrors: 2 };
  world.meter.networks.set(podId, { atMs: world.clock.now, interfaces: [tap] });
  const { stats } = await cri.runtime.listPodSandboxStats({ filter: undefined }, soon());
  expect(stats.map(({ linux }) => linux?.network)).toEqual([undefined]);
});

test("an unknown container or pod is NOT_FOUND; a pod without a machine has its network only", async () => {
  await using at = await served();
  const { cri, podId } = at;
  const nobody = "f".repeat(64);
  await expect(cri.runtime.containerStats({ containerId: nobody }, soon())).rejects.toMatchObject({ code: 5 });
  await expect(cri.runtime.podSandboxStats({ podSandboxId: nobody }, soon())).rejects.toMatchObject({ code: 5 });
  const { stats } = await cri.runtime.podSandboxStats({ podSandboxId: podId }, soon());
  expect(stats?.linux).toMatchObject({ cpu: undefined, memory: undefined, containers: [] });
});
