// What the kubelet's /metrics/cadvisor is made of, over the socket.

import { expect, test } from "vitest";
import { someUsage } from "../../fakes/meter.ts";
import { connectCri } from "../../node/cri-client.ts";
import { serveWorld } from "../engine/served-world.ts";
import { IMAGE, machineSpec, podSpec, soon } from "../engine/world.ts";

test("every metric has a descriptor, as many label values as that has keys, and the figures of the statistics", async () => {
  await using undo = new AsyncDisposableStack();
  const { world, engine, socketPath } = undo.use(await serveWorld());
  const { runtime } = undo.use(connectCri(socketPath));
  await world.images.pull(IMAGE, soon());
  const podId = await engine.runPod(podSpec(), soon());
  const machineId = await engine.createMachine(podId, machineSpec(), soon());
  await engine.startMachine(machineId, soon());
  const pressure = {
    some: { totalUs: 7e6, avg10: 0, avg60: 0, avg300: 0 },
    full: { totalUs: 3e6, avg10: 0, avg60: 0, avg300: 0 },
  };
  const usage = someUsage(world.clock.now, 5e9);
  world.meter.machines.set(machineId, { ...usage, memory: { ...usage.memory, pressure } });
  const counters = (name: string) => ({ name, rxBytes: 10, rxErrors: 1, txBytes: 20, txErrors: 2 });
  const interfaces = ["eth0", "net1", `vm${machineId.slice(0, 12)}`].map(counters);
  world.meter.networks.set(podId, { atMs: world.clock.now, interfaces });
  world.hypervisor.tellMemory(machineId, { atMs: world.clock.now, totalBytes: 128 << 20, freeBytes: 64 << 20 });
  const root = { mountpoint: "/", type: "ext4", usedBytes: 1e9, sizeBytes: 4e9 };
  world.guestFilesystems.answer = async () => [root];
  engine.guestReports.latest([machineId]); // the first who wants to know gets nothing yet

  const { descriptors } = await runtime.listMetricDescriptors({}, soon());
  const { podMetrics } = await runtime.listPodSandboxMetrics({}, soon());
  expect(podMetrics.map(({ podSandboxId }) => podSandboxId)).toEqual([podId]);
  const [{ metrics, containerMetrics } = { metrics: [], containerMetrics: [] }] = podMetrics;
  const [container] = containerMetrics;
  const all = [...metrics, ...(container?.metrics ?? [])].map(({ name, labelValues, value, timestamp }) => {
    const keys = descriptors.find((each) => each.name === name)?.labelKeys ?? [];
    expect(labelValues, name).toHaveLength(keys.length);
    expect(timestamp, name).toBe(BigInt(world.clock.now) * 1_000_000n);
    const labels = Object.fromEntries(keys.map((key, at) => [key, labelValues[at]]));
    return { name, labels, value: Number(value?.value) };
  });
  const ours = { container: "vm", pod: "web", namespace: "default", id: machineId, image: IMAGE };
  const has = (name: string, value: number, labels: object = ours) =>
    expect(all).toContainEqual({ name, value, labels: expect.objectContaining(labels) });
  has("container_cpu_usage_seconds_total", 5);
  has("container_memory_working_set_bytes", 100 << 20);
  has("container_memory_failures_total", 3, { ...ours, failure_type: "pgmajfault" });
  has("container_pressure_memory_stalled_seconds_total", 3);
  has("container_start_time_seconds", Math.round(world.clock.now / 1e3));
  has("vmlet_guest_memory_total_bytes", 128 << 20);
  has("vmlet_guest_filesystem_used_bytes", 1e9, { ...ours, mountpoint: "/", fstype: "ext4" });
  expect(all.map(({ name }) => name)).not.toContain("vmlet_guest_memory_available_bytes"); // it did not say
  has("container_network_receive_bytes_total", 10, { pod: "web", container: "", interface: "net1" });
  expect(metrics.map(({ labelValues }) => labelValues.at(-1))).not.toContain(`vm${machineId.slice(0, 12)}`);
});

test("no name is described twice, and a pod without a machine has its network only", async () => {
  await using undo = new AsyncDisposableStack();
  const { engine, socketPath } = undo.use(await serveWorld());
  const { runtime } = undo.use(connectCri(socketPath));
  await engine.runPod(podSpec(), soon());
  const names = (await runtime.listMetricDescriptors({}, soon())).descriptors.map(({ name }) => name);
  expect(new Set(names).size).toBe(names.length);
  expect((await runtime.listPodSandboxMetrics({}, soon())).podMetrics[0]?.containerMetrics).toEqual([]);
});
