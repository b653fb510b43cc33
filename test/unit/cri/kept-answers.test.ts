import { expect, test } from "vitest";
import { encodedOnce } from "../../../src/cri/kept-answers.ts";
import { ContainerState, PodSandboxState, RuntimeServiceService } from "../../../src/gen/runtime.ts";
import { connectCri } from "../../node/cri-client.ts";
import { serveWorld } from "../engine/served-world.ts";
import { IMAGE, machineSpec, podSpec, soon } from "../engine/world.ts";

const all = { filter: undefined };
const running = {
  filter: { id: "", state: { state: ContainerState.CONTAINER_RUNNING }, podSandboxId: "", labelSelector: {} },
};

test("lists that are asked for again and again tell of each change at once", async () => {
  await using served = await serveWorld();
  const { world, engine } = served;
  using cri = connectCri(served.socketPath);
  const states = async () => {
    const [{ items }, { containers }] = [
      await cri.runtime.listPodSandbox(all, soon()),
      await cri.runtime.listContainers(all, soon()),
    ];
    return [items.map(({ state }) => state), containers.map(({ state }) => state)];
  };
  const runningIds = async () => (await cri.runtime.listContainers(running, soon())).containers.map(({ id }) => id);

  expect(await states()).toEqual([[], []]);
  await world.images.pull(IMAGE, soon());
  const podId = await engine.runPod(podSpec(), soon());
  expect(await states()).toEqual([[PodSandboxState.SANDBOX_READY], []]);
  const machineId = await engine.createMachine(podId, machineSpec(), soon());
  expect(await states()).toEqual([[PodSandboxState.SANDBOX_READY], [ContainerState.CONTAINER_CREATED]]);
  expect(await runningIds()).toEqual([]);
  await engine.startMachine(machineId, soon());
  expect(await states()).toEqual([[PodSandboxState.SANDBOX_READY], [ContainerState.CONTAINER_RUNNING]]);
  expect(await runningIds()).toEqual([machineId]);
  await engine.stopMachine(machineId, 0, soon());
  expect(await states()).toEqual([[PodSandboxState.SANDBOX_READY], [ContainerState.CONTAINER_EXITED]]);
  expect(await runningIds()).toEqual([]);
  await engine.stopPod(podId, soon());
  expect(await states()).toEqual([[PodSandboxState.SANDBOX_NOTREADY], [ContainerState.CONTAINER_EXITED]]);
  await engine.removePod(podId, soon());
  expect(await states()).toEqual([[], []]);
});

test("however many filters are asked for, each gets its own answer", async () => {
  await using served = await serveWorld();
  using cri = connectCri(served.socketPath);
  const podIds: string[] = [];
  for (let at = 0; at < 3; at += 1)
    podIds.push(await served.engine.runPod(podSpec({ name: `web-${at}`, labels: { at: `${at}` } }), soon()));
  for (let turn = 0; turn < 40; turn += 1) {
    const filter = { id: "", state: undefined, labelSelector: { at: `${turn % 20}` } };
    const { items } = await cri.runtime.listPodSandbox({ filter }, soon());
    expect(items.map(({ id }) => id)).toEqual(podIds.slice(turn % 20, (turn % 20) + 1));
  }
});

test("one answer is encoded once, another one anew", () => {
  const { responseSerialize } = encodedOnce(RuntimeServiceService.version);
  const answer = { version: "0.1.0", runtimeName: "vmlet", runtimeVersion: "1", runtimeApiVersion: "v1" };
  const bytes = responseSerialize(answer);
  expect(responseSerialize(answer)).toBe(bytes);
  const other = responseSerialize({ ...answer, runtimeVersion: "2" });
  expect(other).not.toBe(bytes);
  expect(RuntimeServiceService.version.responseDeserialize(other)).toMatchObject({ runtimeVersion: "2" });
});
