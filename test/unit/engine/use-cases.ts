// Every use case of the engine, in the order in which a kubelet comes to it: what the harness walks through.

import type { LivingEngine } from "../../../src/engine/engine.ts";
import type { MachineId, PodId } from "../../../src/model/ids.ts";
import { IMAGE, machineSpec, podSpec, soon, World } from "./world.ts";

export interface Life {
  readonly world: World;
  living: LivingEngine;
  podId: PodId;
  readonly machineIds: MachineId[];
}

export interface Step {
  /** The engine's name for it. */
  readonly useCase: string;
  readonly how?: string;
  /** Given again, it goes on where a call before it was cut off. */
  readonly act: (life: Life, signal: AbortSignal) => Promise<unknown>;
}

const MOUNTS = [{ containerPath: "/etc/hosts", hostPath: "/var/lib/kubelet/hosts", isReadOnly: true }];

/** A cgroup into which machines are moved. */
const POD = podSpec({ cgroupParent: "/kubepods/burstable/poduid-1" });

const runPod: Step = {
  useCase: "runPod",
  act: async (life, signal) => void (life.podId = await life.living.engine.runPod(POD, signal)),
};
const create = (attempt: number): Step => ({
  useCase: "createMachine",
  how: `attempt ${attempt}`,
  act: async (life, signal) => {
    const spec = machineSpec({ attempt, mounts: MOUNTS });
    life.machineIds[attempt] = await life.living.engine.createMachine(life.podId, spec, signal);
  },
});
/** A kubelet looks before it starts again; recovery may have finished the start. */
const start = (attempt: number): Step => ({
  useCase: "startMachine",
  how: `attempt ${attempt}`,
  act: async ({ living: { engine }, machineIds }, signal) => {
    const machineId = machineOf(machineIds, attempt);
    if (engine.pods.machine(machineId).state.at !== "running") await engine.startMachine(machineId, signal);
  },
});
const onMachine = (
  useCase: "updateMachine" | "execSync" | "reopenLog" | "stopMachine" | "removeMachine",
  how: string,
  act: (engine: LivingEngine["engine"], machineId: MachineId, signal: AbortSignal) => Promise<unknown>,
  attempt = 0,
): Step => ({
  useCase,
  how,
  act: async ({ living, machineIds }, signal) => await act(living.engine, machineOf(machineIds, attempt), signal),
});
const stop = (graceMs: number, attempt = 0): Step =>
  onMachine("stopMachine", `grace ${graceMs} ms`, (it, id, signal) => it.stopMachine(id, graceMs, signal), attempt);
const remove = (attempt: number): Step =>
  onMachine("removeMachine", `attempt ${attempt}`, (it, id, signal) => it.removeMachine(id, signal), attempt);
const stopPod: Step = {
  useCase: "stopPod",
  act: async ({ living, podId }, signal) => await living.engine.stopPod(podId, signal),
};
const removePod: Step = {
  useCase: "removePod",
  act: async ({ living, podId }, signal) => await living.engine.removePod(podId, signal),
};

const powerOffByItself: Step = {
  useCase: "untilEnded",
  how: "the guest powers itself off",
  act: async ({ world, living: { engine }, machineIds }, signal) => {
    const machineId = machineOf(machineIds, 0);
    const isOn = (await world.hypervisor.look(machineId, signal))?.condition.is === "on";
    if (isOn) world.hypervisor.end(machineId, "shutdown");
    await engine.untilEnded({ machineId }, signal);
  },
};
/** Given again, the node is rebooted again: a daemon that does not come to its end is started anew. */
const rebootNode: Step = {
  useCase: "recover",
  how: "after the node's reboot",
  act: async (life, signal) => {
    life.world.rebootNode();
    life.living = await life.world.start();
    await life.living.recover(signal);
    const { at } = life.living.engine.pods.pod(life.podId).state;
    if (at !== "stopped") throw new Error(`the pod is ${at}`);
  },
};

const RESIZED = { cpuShares: 512, cpusetCpus: "0", cpusetMems: "0", memoryLimitBytes: 352 << 20 };

/** Ways through a pod's life; each ends with nothing left. */
export const LIVES: Readonly<Record<string, readonly Step[]>> = {
  "an orderly life": [
    runPod,
    create(0),
    start(0),
    onMachine("updateMachine", "as it runs", (it, id, signal) => it.updateMachine(id, RESIZED, signal)),
    onMachine("execSync", "true", (it, id, signal) => it.execSync(id, { argv: ["true"] }, signal)),
    onMachine("reopenLog", "", (it, id, signal) => it.reopenLog(id, signal)),
    stop(0),
    remove(0),
    stopPod,
    removePod,
  ],
  "a guest that obeys, and the next attempt": [
    runPod,
    create(0),
    onMachine("updateMachine", "before its start", (it, id, signal) => it.updateMachine(id, RESIZED, signal)),
    start(0),
    stop(60_000),
    create(1),
    start(1),
    stop(0, 1),
    remove(0),
    remove(1),
    stopPod,
    removePod,
  ],
  "an attempt that never ran, and a pod that is stopped as it runs": [
    runPod,
    create(0),
    create(1),
    start(1),
    stopPod,
    removePod,
  ],
  "a guest that ends by itself, and a node that is rebooted": [
    runPod,
    create(0),
    start(0),
    powerOffByItself,
    create(1),
    start(1),
    rebootNode,
    remove(0),
    removePod,
  ],
  "a pod that is removed as it runs": [runPod, create(0), start(0), removePod],
};

/** Its first `count` steps are done, and nothing of them is under way any more. */
export async function liveUntil(steps: readonly Step[], count: number): Promise<Life> {
  const world = new World();
  await world.images.pull(IMAGE, soon());
  const life: Life = { world, living: await world.start(), podId: "" as PodId, machineIds: [] };
  for (const { act } of steps.slice(0, count)) {
    await act(life, soon());
    await calm();
  }
  return life;
}

/** Until what events brought about is done: fakes wait for nothing but promises. */
export async function calm(): Promise<void> {
  for (let turns = 0; turns < 3; turns++) await new Promise((resolve) => setImmediate(resolve));
}

/** As any other world with the same life would show it: ids are new each time. */
export async function pictureOf({ world, podId, machineIds }: Life): Promise<unknown> {
  let text = JSON.stringify(await world.picture());
  for (const [id, name] of [[podId, "POD"], ...machineIds.map((id, at) => [id, `MACHINE-${at}`])] as [string, string][])
    if (id !== "") text = text.replaceAll(id, name).replaceAll(id.slice(0, 12), `${name}-`);
  const lists = Object.entries(JSON.parse(text) as Record<string, unknown[]>);
  const sorted = (items: unknown[]): string[] => items.map((item) => JSON.stringify(item)).toSorted();
  return Object.fromEntries(
    lists.map(([name, items]) => [name, sorted(items).map((item) => JSON.parse(item) as unknown)]),
  );
}

function machineOf(machineIds: readonly MachineId[], attempt: number): MachineId {
  const found = machineIds[attempt];
  if (found === undefined) throw new Error(`attempt ${attempt} was not created`);
  return found;
}
