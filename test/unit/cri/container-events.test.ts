import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, expect, test } from "vitest";
import { serveCri } from "../../../src/cri/serve.ts";
import {
  type ContainerEventResponse,
  ContainerEventType,
  ContainerState,
  PodSandboxState,
} from "../../../src/gen/runtime.ts";
import { silentLog } from "../../fakes/small-ports.ts";
import { connectCri } from "../../node/cri-client.ts";
import { IMAGE, machineSpec, podSpec, soon, World } from "../engine/world.ts";

let folder: string;
beforeEach(async () => void (folder = await mkdtemp(join(tmpdir(), "vmlet-events-"))));
afterEach(async () => await rm(folder, { recursive: true }));

async function served() {
  await using undo = new AsyncDisposableStack();
  const world = new World();
  await world.images.pull(IMAGE, soon());
  const { engine } = await world.start();
  const socketPath = join(folder, "vmlet.sock");
  const options = { socketPath, cgroupDriver: "cgroupfs", effectiveConfig: {}, log: silentLog } as const;
  const server = undo.use(await serveCri(options, engine));
  const cri = undo.use(connectCri(socketPath));
  const stream = cri.raw.runtime.getContainerEvents({});
  const heard: ContainerEventResponse[] = [];
  const ended = Promise.withResolvers<void>();
  stream.on("data", (event: ContainerEventResponse) => heard.push(event)).on("end", () => ended.resolve());
  stream.on("error", ended.reject);
  const subscribed = Promise.withResolvers<void>();
  stream.on("metadata", () => subscribed.resolve());
  await subscribed.promise;
  const parts = undo.move();
  return { engine, server, heard, ended: ended.promise, [Symbol.asyncDispose]: () => parts.disposeAsync() };
}

test("events carry the whole status of pod and containers, and the stream ends well with the daemon", async () => {
  await using at = await served();
  const { engine, server, heard, ended } = at;
  const podId = await engine.runPod(podSpec(), soon());
  const machineId = await engine.createMachine(podId, machineSpec(), soon());
  await engine.startMachine(machineId, soon());
  await engine.stopMachine(machineId, 0, soon());
  const startedMs = performance.now();
  await server[Symbol.asyncDispose]();
  await ended;
  expect(performance.now() - startedMs).toBeLessThan(1_500);
  expect(heard.map((event) => [event.containerId, event.containerEventType])).toEqual([
    [podId, ContainerEventType.CONTAINER_CREATED_EVENT],
    [podId, ContainerEventType.CONTAINER_STARTED_EVENT],
    [machineId, ContainerEventType.CONTAINER_CREATED_EVENT],
    [machineId, ContainerEventType.CONTAINER_STARTED_EVENT],
    [machineId, ContainerEventType.CONTAINER_STOPPED_EVENT],
  ]);
  expect(heard.at(-1)).toMatchObject({
    podSandboxStatus: { id: podId, state: PodSandboxState.SANDBOX_READY, metadata: { name: "web" } },
    containersStatuses: [{ id: machineId, state: ContainerState.CONTAINER_EXITED, exitCode: 137 }],
  });
  expect(heard.every(({ createdAt }) => createdAt > 0n)).toBe(true);
});
