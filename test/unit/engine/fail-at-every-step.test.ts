// Every use case, once for each port call made to fail: nothing may be left, and the same call must then succeed.

import { describe, expect, test } from "vitest";
import type { Engine } from "../../../src/engine/engine.ts";
import type { MachineId, PodId } from "../../../src/model/ids.ts";
import { IMAGE, machineSpec, podSpec, soon, World } from "./world.ts";

interface Ready {
  readonly world: World;
  readonly engine: Engine;
  podId: PodId;
  machineId: MachineId;
}

/** Each brings the world to before its use case, and names the use case. */
const stages = [
  ["runPod", async (at: Ready) => void (at.podId = await at.engine.runPod(podSpec(), soon()))],
  [
    "createMachine",
    async (at: Ready) => void (at.machineId = await at.engine.createMachine(at.podId, machineSpec(), soon())),
  ],
  ["startMachine", async (at: Ready) => await at.engine.startMachine(at.machineId, soon())],
  ["updateMachine", async (at: Ready) => await at.engine.updateMachine(at.machineId, { cpuShares: 512 }, soon())],
  ["stopMachine", async (at: Ready) => await at.engine.stopMachine(at.machineId, 0, soon())],
  ["removeMachine", async (at: Ready) => await at.engine.removeMachine(at.machineId, soon())],
  ["stopPod", async (at: Ready) => await at.engine.stopPod(at.podId, soon())],
  ["removePod", async (at: Ready) => await at.engine.removePod(at.podId, soon())],
] as const;

async function worldBefore(stage: number): Promise<Ready> {
  const world = new World();
  await world.images.pull(IMAGE, soon());
  const { engine } = await world.start();
  const at: Ready = { world, engine, podId: "" as PodId, machineId: "" as MachineId };
  for (const [, act] of stages.slice(0, stage)) await act(at);
  return at;
}

async function callsOf(stage: number): Promise<readonly string[]> {
  const at = await worldBefore(stage);
  at.world.failCall(Number.POSITIVE_INFINITY);
  await stages[stage]?.[1](at);
  return [...at.world.calls];
}

for (const [index, [name, act]] of stages.entries()) {
  describe(name, async () => {
    const calls = await callsOf(index);
    test("makes port calls", () => expect(calls.length).toBeGreaterThan(0));

    for (const failing of ["before", "after"] as const) {
      test.each(calls.map((call, at) => [at + 1, call] as const))(
        `succeeds when repeated after call %i (%s) failed ${failing} doing its work, and everything is given back`,
        async (number) => {
          const at = await worldBefore(index);
          const before = await at.world.leftovers();
          at.world.failing = failing;
          at.world.failCall(number);
          const failed = await act(at).then(
            () => false,
            () => true,
          );
          at.world.healAll();
          if (failed && index <= 2) expect(await at.world.leftovers()).toEqual(before);
          if (failed) await act(at);
          for (const [, next] of stages.slice(index + 1)) await next(at);
          expect(await at.world.leftovers()).toEqual({});
        },
      );
    }
  });
}
