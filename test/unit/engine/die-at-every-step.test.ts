// The daemon is killed at each port call (nothing after it runs, no undo), a new one recovers, and the call is repeated.

import { describe, expect, test } from "vitest";
import type { LivingEngine } from "../../../src/engine/engine.ts";
import type { MachineId, PodId } from "../../../src/model/ids.ts";
import { IMAGE, machineSpec, podSpec, soon, World } from "./world.ts";

interface Ids {
  podId: PodId;
  machineId: MachineId;
}

const stages = [
  ["runPod", async ({ engine }: LivingEngine, ids: Ids) => void (ids.podId = await engine.runPod(podSpec(), soon()))],
  [
    "createMachine",
    async ({ engine }: LivingEngine, ids: Ids) =>
      void (ids.machineId = await engine.createMachine(ids.podId, machineSpec(), soon())),
  ],
  ["startMachine", startUnlessRunning],
  [
    "updateMachine",
    async ({ engine }: LivingEngine, ids: Ids) => await engine.updateMachine(ids.machineId, { cpuShares: 512 }, soon()),
  ],
  ["stopMachine", async ({ engine }: LivingEngine, ids: Ids) => await engine.stopMachine(ids.machineId, 0, soon())],
  ["removeMachine", async ({ engine }: LivingEngine, ids: Ids) => await engine.removeMachine(ids.machineId, soon())],
  ["stopPod", async ({ engine }: LivingEngine, ids: Ids) => await engine.stopPod(ids.podId, soon())],
  ["removePod", async ({ engine }: LivingEngine, ids: Ids) => await engine.removePod(ids.podId, soon())],
] as const;

/** The kubelet looks before it starts again; recovery may have finished the start. */
async function startUnlessRunning({ engine }: LivingEngine, { machineId }: Ids): Promise<void> {
  if (engine.pods.machine(machineId).state.at !== "running") await engine.startMachine(machineId, soon());
}

async function worldBefore(stage: number): Promise<{ world: World; living: LivingEngine; ids: Ids }> {
  const world = new World();
  await world.images.pull(IMAGE, soon());
  const living = await world.start();
  const ids: Ids = { podId: "" as PodId, machineId: "" as MachineId };
  for (const [, act] of stages.slice(0, stage)) await act(living, ids);
  return { world, living, ids };
}

for (const [index, [name, act]] of stages.entries()) {
  describe(name, async () => {
    const { world, living, ids } = await worldBefore(index);
    world.failCall(Number.POSITIVE_INFINITY);
    await act(living, ids);
    const calls = [...world.calls];

    for (const when of ["before", "after"] as const) {
      test.each(calls.map((call, at) => [at + 1, call] as const))(
        `a daemon killed ${when} call %i (%s) recovers, and the repeated call goes on`,
        async (number) => {
          const before = await worldBefore(index);
          before.world.dieAt(number, when);
          void act(before.living, before.ids);
          await before.world.dead;
          const revived = await before.world.start();
          await revived.recover(soon());
          await act(revived, before.ids);
          for (const [, next] of stages.slice(index + 1)) await next(revived, before.ids);
          expect(await before.world.leftovers()).toEqual({});
        },
      );
    }
  });
}
