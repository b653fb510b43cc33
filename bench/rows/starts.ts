// From a pod with a network to a VM that runs, one by one and twenty at a time, beside the same operations by hand and
// beside `virsh create` of the same XML alone. The guests find nothing to boot, so starts do not wait for guests.

import { join } from "node:path";
import { newPodId } from "../../src/model/ids.ts";
import { VmPod } from "../../test/integration/e2e/vm-pod.ts";
import { type Bench, timed } from "../bench.ts";
import {
  createFiles,
  createMachine,
  type MachineByHand,
  type Original,
  originalOf,
  prepareMachine,
  removeMachine,
  startMachine,
  stopMachine,
  virsh,
} from "../by-hand/machine.ts";
import { addNetwork, type NetworkByHand, removeNetwork } from "../by-hand/network.ts";
import { inLanes } from "../lanes.ts";
import { blankImage } from "../scale/populations.ts";
import { type Row, rowOf } from "../table.ts";

const BY_HAND = "qemu-img, genisoimage, virsh define, create --paused, ip, tc, virsh resume";
const VIRSH = "virsh create of the same XML, files and all";
const TARGET = 1.15;
const TOGETHER = 20;

/** One machine is in each; a batch is started at one time. */
interface Way {
  prepare(count: number): Promise<readonly Start[]>;
}

interface Start {
  readonly start: () => Promise<void>;
  readonly remove: () => Promise<void>;
}

interface Times {
  /** Each start. */
  readonly each: number[];
  /** From the batch's first start to its last machine running. */
  readonly all: number[];
}

export async function startRows(bench: Bench, signal: AbortSignal): Promise<Row[]> {
  const { node, isQuick } = bench;
  const image = await blankImage(bench, signal);
  const first = await VmPod.create(node, { name: "first", image }, signal);
  const original = await originalOf(node, first, signal);
  await first.start(signal);
  await first.remove(signal);

  const ways = {
    ours: ourWay(bench, image, signal),
    byHand: wayByHand(bench, original, ALL, signal),
    virsh: wayByHand(bench, original, VIRSH_ALONE, signal),
  };
  const single = await inTurns(bench, ways, { count: 1, turns: isQuick ? 2 : 10 });
  const count = isQuick ? 3 : TOGETHER;
  const together = await inTurns(bench, ways, { count, turns: isQuick ? 1 : 2 });
  const none = "vmlet's start is more: disk, seed, network and DHCP";
  const name = "create to running";
  return [
    row(`${name}, one by one`, BY_HAND, single.ours.each, single.byHand.each, TARGET),
    row(`${name}, one by one`, VIRSH, single.ours.each, single.virsh.each, { none }),
    row(`${name}, each of ${count} at a time`, BY_HAND, together.ours.each, together.byHand.each, TARGET),
    row(`${name}, all ${count} at a time`, BY_HAND, together.ours.all, together.byHand.all, TARGET),
    row(`${name}, all ${count} at a time`, VIRSH, together.ours.all, together.virsh.all, { none }),
  ];
}

const row = (
  name: string,
  baseline: string,
  oursMs: readonly number[],
  baselineMs: readonly number[],
  target: number | { readonly none: string },
): Row => rowOf({ name, baseline, oursMs, baselineMs, target });

/** The ways take turns. One by one the first turn does not count; whoever starts many at a time is warm by then. */
async function inTurns<Name extends string>(
  { say }: Bench,
  ways: Readonly<Record<Name, Way>>,
  { count, turns }: { readonly count: number; readonly turns: number },
): Promise<Readonly<Record<Name, Times>>> {
  say(`starts: ${count} at a time, ${turns} times each way`);
  const names = Object.keys(ways) as Name[];
  const times = Object.fromEntries(names.map((name) => [name, { each: [], all: [] }])) as unknown as Record<
    Name,
    Times
  >;
  for (let turn = count === 1 ? -1 : 0; turn < turns; turn += 1) {
    for (const name of names) {
      const { each, all } = turn < 0 ? { each: [], all: [] } : times[name];
      const starts = await ways[name].prepare(count);
      await timed(all, async () => await Promise.all(starts.map(async ({ start }) => await timed(each, start))));
      await inLanes(starts, async ({ remove }) => await remove());
    }
  }
  return times;
}

function ourWay({ node }: Bench, image: string, signal: AbortSignal): Way {
  const prepareOne = async (name: string): Promise<Start> => {
    const pod = await VmPod.run(node, { name, image }, signal);
    return {
      start: async () => {
        await pod.createContainer(pod.containerConfig, signal);
        await pod.start(signal);
      },
      remove: async () => await pod.remove(signal),
    };
  };
  return { prepare: async (count) => await prepared(count, async (index) => await prepareOne(`start-${index}`)) };
}

interface StartByHand {
  /** Before the clock runs. */
  prepare?(machine: MachineByHand, signal: AbortSignal): Promise<void>;
  start(machine: MachineByHand, network: NetworkByHand, signal: AbortSignal): Promise<void>;
  /** Of a machine that was stopped, for it to be removed as all are. */
  stopped?(machine: MachineByHand, signal: AbortSignal): Promise<void>;
}

const ALL: StartByHand = {
  start: async (machine, network, signal) => {
    await createMachine(machine, signal);
    await startMachine(machine, network, signal);
  },
};

const VIRSH_ALONE: StartByHand = {
  prepare: createFiles,
  start: async ({ xmlPath }, _network, signal) => void (await virsh(["create", xmlPath], signal)),
  stopped: async ({ xmlPath }, signal) => void (await virsh(["define", xmlPath], signal)),
};

function wayByHand({ node: { layout } }: Bench, original: Original, way: StartByHand, signal: AbortSignal): Way {
  const prepareOne = async (): Promise<Start> => {
    const id = newPodId();
    const network = await addNetwork(layout, id, signal);
    const machine = await prepareMachine(original, join(layout.stateFolderPath, "by-hand"), network.mac);
    await way.prepare?.(machine, signal);
    return {
      start: async () => await way.start(machine, network, signal),
      remove: async () => {
        await stopMachine(machine, signal);
        await way.stopped?.(machine, signal);
        await removeMachine(machine, signal);
        await removeNetwork(layout, id, network, signal);
      },
    };
  };
  return { prepare: async (count) => await prepared(count, prepareOne) };
}

async function prepared(count: number, prepareOne: (index: number) => Promise<Start>): Promise<readonly Start[]> {
  const starts: Start[] = [];
  await inLanes(
    Array.from({ length: count }, (_, index) => index),
    async (index) => void starts.push(await prepareOne(index)),
  );
  return starts;
}
