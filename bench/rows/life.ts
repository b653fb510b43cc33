// Each step of a pod's life through CRI, beside the same step by hand. Whole lives take turns, so that neither side
// measures the other's booting guest.

import { join } from "node:path";
import { setTimeout as after } from "node:timers/promises";
import { newPodId } from "../../src/model/ids.ts";
import { containerConfigOf, podConfigOf, VmPod } from "../../test/integration/e2e/vm-pod.ts";
import { type Bench, timed } from "../bench.ts";
import {
  createMachine,
  type Original,
  originalOf,
  prepareMachine,
  removeMachine,
  startMachine,
  stopMachine,
} from "../by-hand/machine.ts";
import { addNetwork, removeNetwork } from "../by-hand/network.ts";
import { type Row, rowOf } from "../table.ts";

const STEPS = {
  run: { name: "RunPodSandbox", baseline: "ip netns add, CNI ADD", target: 2 },
  create: { name: "CreateContainer", baseline: "qemu-img create, genisoimage, virsh define", target: 1.5 },
  start: { name: "StartContainer", baseline: "virsh create --paused, ip, tc, virsh resume", target: 1.5 },
  stop: { name: "StopContainer, no grace", baseline: "virsh destroy", target: 1.5 },
  remove: { name: "RemoveContainer", baseline: "virsh undefine, rm", target: 1.5 },
  down: { name: "StopPodSandbox, RemovePodSandbox", baseline: "CNI DEL, ip netns delete", target: 2 },
} as const;

/** QEMU ends slowest in its guest's first moments: both sides are stopped at the same age. */
const AGE_AT_STOP_MS = 1_000;

type Times = { readonly [step in keyof typeof STEPS]: number[] };

export async function lifeRows(bench: Bench, signal: AbortSignal): Promise<Row[]> {
  const runs = bench.isQuick ? 2 : 10;
  bench.say(`a pod's life, ${runs} times each way`);
  const original = await firstLife(bench, signal); // also warms both sides up
  const ours = noTimes();
  const byHand = noTimes();
  for (let turn = 0; turn < runs; turn += 1) {
    await liveByCri(bench, ours, signal);
    await liveByHand(bench, original, byHand, signal);
  }
  return (Object.keys(STEPS) as (keyof typeof STEPS)[]).map((step) =>
    rowOf({ ...STEPS[step], oursMs: ours[step], baselineMs: byHand[step] }),
  );
}

const noTimes = (): Times => ({ run: [], create: [], start: [], stop: [], remove: [], down: [] });

/** One life through CRI and one by hand that do not count; the first gives the XML for all lives by hand. */
async function firstLife(bench: Bench, signal: AbortSignal): Promise<Original> {
  const { node } = bench;
  const pod = await VmPod.create(node, { name: "first" }, signal);
  const original = await originalOf(node, pod, signal);
  await pod.start(signal);
  await pod.remove(signal);
  await liveByHand(bench, original, noTimes(), signal);
  return original;
}

async function liveByCri({ node }: Bench, times: Times, signal: AbortSignal): Promise<void> {
  const { runtime } = node.cri;
  const sandboxConfig = podConfigOf(node, "bench");
  const config = containerConfigOf(node.tinyImage);
  const { podSandboxId } = await timed(times.run, () =>
    runtime.runPodSandbox({ config: sandboxConfig, runtimeHandler: "vmlet" }, signal),
  );
  const { containerId } = await timed(times.create, () =>
    runtime.createContainer({ podSandboxId, config, sandboxConfig }, signal),
  );
  await timed(times.start, () => runtime.startContainer({ containerId }, signal));
  await after(AGE_AT_STOP_MS, undefined, { signal });
  await timed(times.stop, () => runtime.stopContainer({ containerId, timeout: 0n }, signal));
  await timed(times.remove, () => runtime.removeContainer({ containerId }, signal));
  await timed(times.down, async () => {
    await runtime.stopPodSandbox({ podSandboxId }, signal);
    await runtime.removePodSandbox({ podSandboxId }, signal);
  });
}

async function liveByHand({ node }: Bench, original: Original, times: Times, signal: AbortSignal): Promise<void> {
  const { layout } = node;
  const id = newPodId();
  const network = await timed(times.run, () => addNetwork(layout, id, signal));
  const machine = await prepareMachine(original, join(layout.stateFolderPath, "by-hand"), network.mac);
  await timed(times.create, () => createMachine(machine, signal));
  await timed(times.start, () => startMachine(machine, network, signal));
  await after(AGE_AT_STOP_MS, undefined, { signal });
  await timed(times.stop, () => stopMachine(machine, signal));
  await timed(times.remove, () => removeMachine(machine, signal));
  await timed(times.down, () => removeNetwork(layout, id, network, signal));
}
