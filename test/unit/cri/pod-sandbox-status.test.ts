import { expect, test } from "vitest";
import { connectCri } from "../../node/cri-client.ts";
import { serveWorld } from "../engine/served-world.ts";
import { IMAGE, machineSpec, podSpec, soon } from "../engine/world.ts";

test("a pod's containers are told with the newest first: of two attempts a kubelet looks at the first it is told of", async () => {
  await using at = await serveWorld();
  using cri = connectCri(at.socketPath);
  const { world, engine } = at;
  await world.images.pull(IMAGE, soon());
  const podSandboxId = await engine.runPod(podSpec(), soon());
  for (const attempt of [0, 1, 2]) {
    world.clock.now += attempt === 2 ? 1_000 : 0; // the first two in the same millisecond
    const machineId = await engine.createMachine(podSandboxId, machineSpec({ attempt }), soon());
    await engine.startMachine(machineId, soon());
    if (attempt < 2) await engine.stopMachine(machineId, 0, soon());
  }
  const { containersStatuses } = await cri.runtime.podSandboxStatus({ podSandboxId, verbose: false }, soon());
  expect(containersStatuses.map(({ metadata }) => metadata?.attempt)).toEqual([2, 1, 0]);
});
