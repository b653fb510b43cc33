// What the kubelet asks of a node with few pods and with many: beside an empty gRPC handler with the same bytes, beside
// Debian's containerd with as many pods, and what the daemon takes while it is asked.

import { readFile } from "node:fs/promises";
import { setTimeout as after } from "node:timers/promises";
import { pollAsKubelet } from "../../test/node/kubelet-polling.ts";
import { type Bench, timed } from "../bench.ts";
import { residentMiB as residentMiBOf } from "../memory.ts";
import { type Answerer, type Call, callsOf, serveSameBytes } from "../scale/calls.ts";
import { pausedMachines, sleepingContainers } from "../scale/populations.ts";
import { figureOf, type Row, rowOf } from "../table.ts";

const EMPTY = "an empty grpc-js handler, same bytes";
const CONTAINERD = "Debian's containerd";
/** Statistics that are asked for again within a second are the last ones, remembered. */
const FRESH_MS = 1_000;
/** One that takes seconds to answer is asked less often. */
const SLOW_BUDGET_MS = 30_000;
/** The count at which the daemon is watched. */
const WATCHED_AT = 100;
/** The kernel's clock ticks, as it tells them. */
const MS_PER_TICK = 10;

interface Sides {
  readonly ours: Answerer;
  readonly empty: Answerer;
  readonly containerd: Answerer;
}

interface Times {
  readonly oursMs: number[];
  readonly emptyMs: number[];
  readonly containerdMs: number[];
}

export async function callRows(bench: Bench, signal: AbortSignal): Promise<Row[]> {
  const rows: Row[] = [];
  await using ours = await pausedMachines(bench, signal);
  await using containerd = await sleepingContainers(bench, signal);
  for (const count of bench.podCounts ?? (bench.isQuick ? [1, 5] : [1, 50, 100, 200])) {
    await ours.grow(count, signal);
    await containerd.grow(count, signal);
    bench.say(`calls with ${count} pods`);
    const calls = callsOf(signal);
    await using empty = await serveSameBytes(bench, calls, ours, signal);
    const sides = { ours, empty, containerd };
    for (const call of calls.lists) rows.push(...(await listRows(bench, call, sides, count)));
    for (const call of calls.stats) rows.push(...(await statsRows(bench, call, sides, count, signal)));
    if (count === (bench.isQuick ? 5 : WATCHED_AT)) rows.push(...(await watchedRows(bench, containerd, count, signal)));
  }
  rows.push(await startRow(bench, signal));
  return rows;
}

/** A daemon that ended while all of them ran: until it answers again. */
async function startRow({ node, isQuick, say }: Bench, signal: AbortSignal): Promise<Row> {
  const values: number[] = [];
  const { items } = await node.cri.runtime.listPodSandbox({ filter: undefined }, signal);
  for (let turn = 0; turn < (isQuick ? 1 : 3); turn += 1) {
    say("the daemon starts again");
    await node.stop(signal);
    await timed(values, () => node.start(signal));
  }
  return figureOf({ name: `start of the daemon, ${items.length} VMs running`, unit: "ms", values, target: 5_000 });
}

async function listRows({ isQuick }: Bench, call: Call, sides: Sides, count: number): Promise<Row[]> {
  const times = noTimes();
  const warmUp = isQuick ? 20 : 200;
  for (let turn = 0; turn < (isQuick ? 50 : 600) + warmUp; turn += 1)
    await askEach(call, sides, turn < warmUp ? noTimes() : times);
  const [name, hasTail] = [nameOf(call, count), true as const];
  const { oursMs, emptyMs, containerdMs } = times;
  return [
    rowOf({ name, baseline: EMPTY, oursMs, baselineMs: emptyMs, hasTail, isJudgedByTail: true, target: 3 }),
    rowOf({ name, baseline: CONTAINERD, oursMs, baselineMs: containerdMs, hasTail, target: 4 }),
  ];
}

async function statsRows(
  { isQuick }: Bench,
  call: Call,
  sides: Sides,
  count: number,
  signal: AbortSignal,
): Promise<Row[]> {
  const times = noTimes();
  const isPatient = (tookMs: readonly number[]): boolean =>
    tookMs.length < 3 || tookMs.reduce((sum, ms) => sum + ms, 0) < SLOW_BUDGET_MS;
  for (let turn = -1; turn < (isQuick ? 3 : 20); turn += 1) {
    await after(FRESH_MS + 50, undefined, { signal });
    const { oursMs, emptyMs, containerdMs } = turn < 0 ? noTimes() : times;
    await timed(oursMs, () => call.ask(sides.ours));
    await timed(emptyMs, () => call.ask(sides.empty));
    if (isPatient(times.containerdMs)) await timed(containerdMs, () => call.ask(sides.containerd));
  }
  const [name, hasTail] = [nameOf(call, count), true as const];
  const { oursMs, emptyMs, containerdMs } = times;
  const none = "only ours measures";
  const few = "the target is for 50 pods and more";
  return [
    rowOf({ name, baseline: EMPTY, oursMs, baselineMs: emptyMs, hasTail, target: { none } }),
    rowOf({
      name,
      baseline: CONTAINERD,
      oursMs,
      baselineMs: containerdMs,
      hasTail,
      target: count < 50 ? { none: few } : 1 / 5,
    }),
  ];
}

/** What the daemon takes while a kubelet asks as it always does, and nothing else happens. */
async function watchedRows(
  { node, isQuick, say }: Bench,
  containerd: Answerer & { pid(): Promise<number> },
  count: number,
  signal: AbortSignal,
): Promise<Row[]> {
  const seconds = isQuick ? 10 : 60; // all that a kubelet asks comes within a minute
  const watch = async (who: Answerer, pid: number): Promise<{ percent: number; residentMiB: number[] }> => {
    const residentMiB: number[] = [];
    const before = await cpuMs(pid);
    const startedMs = performance.now();
    const onSecond = async (): Promise<void> => void residentMiB.push(await residentMiBOf(pid));
    await pollAsKubelet(who.cri, { seconds, onSecond }, signal);
    const percent = ((await cpuMs(pid)) - before) / ((performance.now() - startedMs) / 100);
    return { percent, residentMiB };
  };
  // At the first start after its sources changed Node strips types, which costs memory until the next start.
  await node.stop(signal);
  await node.start(signal);
  say(`${seconds} s of a kubelet's questions about ${count} pods, to each`);
  const ours = await watch({ cri: node.cri, containerId: "" }, await node.daemonPid());
  const theirs = await watch(containerd, await containerd.pid());
  const what = `with ${count} pods, a kubelet asking`;
  const none = "to compare with";
  const percent = "% of a core";
  return [
    figureOf({
      name: `memory of the daemon ${what}`,
      unit: "MiB",
      values: ours.residentMiB,
      hasTail: true,
      target: 150,
    }),
    figureOf({ name: `CPU of the daemon ${what}`, unit: percent, values: [ours.percent], target: 2 }),
    figureOf({ name: `memory of containerd ${what}`, unit: "MiB", values: theirs.residentMiB, target: { none } }),
    figureOf({ name: `CPU of containerd ${what}`, unit: percent, values: [theirs.percent], target: { none } }),
  ];
}

async function askEach({ ask }: Call, { ours, empty, containerd }: Sides, into: Times): Promise<void> {
  await timed(into.oursMs, () => ask(ours));
  await timed(into.emptyMs, () => ask(empty));
  await timed(into.containerdMs, () => ask(containerd));
}

const noTimes = (): Times => ({ oursMs: [], emptyMs: [], containerdMs: [] });

const nameOf = ({ name }: Call, count: number): string => `${name}, ${count} ${count === 1 ? "pod" : "pods"}`;

async function cpuMs(pid: number): Promise<number> {
  const stat = await readFile(`/proc/${pid}/stat`, "utf8");
  const fields = stat.slice(stat.lastIndexOf(")") + 2).split(" "); // from the state on, the third
  return (Number(fields[11]) + Number(fields[12])) * MS_PER_TICK;
}
