import { expect, test } from "vitest";
import {
  type ContainerEventResponse,
  ContainerEventType,
  ContainerState,
  PodSandboxState,
} from "../../../src/gen/runtime.ts";
import { connectCri } from "../../node/cri-client.ts";
import { serveWorld } from "../engine/served-world.ts";
import { IMAGE, machineSpec, podSpec, soon } from "../engine/world.ts";

async function served() {
  await using undo = new AsyncDisposableStack();
  const { world, engine, server, socketPath } = undo.use(await serveWorld());
  await world.images.pull(IMAGE, soon());
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
