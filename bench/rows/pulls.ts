// Pulls of a large image, from a web server and from a registry, beside curl and skopeo; and what they ask of the
// daemon meanwhile: memory, and everybody else's time.

import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as after } from "node:timers/promises";
import { ImageSpec } from "../../src/gen/runtime.ts";
import { startTestNode, type TestNode } from "../../test/node/test-node.ts";
import { type Bench, timed } from "../bench.ts";
import { type Disk, serveDisks } from "../pulls/sources.ts";
import { DaemonWatch } from "../pulls/watch.ts";
import { type Way, waysOf } from "../pulls/ways.ts";
import { figureOf, type Row, rowOf } from "../table.ts";

const WARM_UP: Disk = { name: "small", sizeMiB: 1 };
const ALLOWED_RSS_MIB = 64;
const ALLOWED_DELAY_MS = 20;

export async function pullsRows(bench: Bench, signal: AbortSignal): Promise<Row[]> {
  const disk: Disk = { name: "large", sizeMiB: bench.isQuick ? 128 : 2048 };
  await using undo = new AsyncDisposableStack();
  const folderPath = await mkdtemp(join(tmpdir(), "vmlet-bench-"));
  undo.defer(async () => rm(folderPath, { recursive: true, force: true }));
  bench.say(`pulls: images of ${WARM_UP.sizeMiB} and ${disk.sizeMiB} MiB are made and pushed`);
  const sources = undo.use(await serveDisks([WARM_UP, disk], folderPath, signal));
  const hostsFolderPath = join(folderPath, "certs.d");
  await sources.registry.writeHosts(hostsFolderPath);
  // A daemon of its own: what it did before would be in its memory.
  const config = { images: { allowHttp: true, registry: { hostsFolderPath } } };
  const node = undo.use(await startTestNode({ config }, signal));
  const own: Bench = { node, isQuick: bench.isQuick, say: (text) => bench.say(`pulls: ${text}`) };
  return await rowsOf(own, await waysOf(sources, folderPath), disk, signal);
}

async function rowsOf(bench: Bench, ways: readonly Way[], disk: Disk, signal: AbortSignal): Promise<Row[]> {
  const { node, isQuick } = bench;
  for (const way of ways) await pull(node, way.imageOf(WARM_UP), [], signal);
  const idle = new DaemonWatch(node);
  await idle.during(async () => after(isQuick ? 2_000 : 10_000, undefined, { signal }), signal);
  const idleMiB = idle.rssMiB.at(-1) ?? 0;
  bench.say(`warmed up, the daemon has ${idleMiB.toFixed(0)} MiB; p99 of its timers' delay is ${idle.delayP99Ms} ms`);

  const busy = new DaemonWatch(node);
  const rows: Row[] = [];
  for (const way of ways) {
    const seenSoFar = busy.rssMiB.length;
    rows.push(...(await rowsOfWay(bench, way, disk, busy, signal)));
    const mostMiB = Math.max(...busy.rssMiB.slice(seenSoFar));
    bench.say(`${way.name}: at most ${(mostMiB - idleMiB).toFixed(0)} MiB more than warmed up`);
  }
  return [...rows, ...figuresOf(idle, busy, idleMiB)];
}

async function rowsOfWay(
  bench: Bench,
  { name, imageOf, beside }: Way,
  disk: Disk,
  watch: DaemonWatch,
  signal: AbortSignal,
): Promise<Row[]> {
  const runs = bench.isQuick ? 1 : 3;
  bench.say(`${name}, ${runs} times each way`);
  const oursMs: number[] = [];
  const sides = beside.map((side) => ({ ...side, tookMs: [] as number[] }));
  for (let turn = 0; turn < runs; turn += 1) {
    await watch.during(async () => pull(bench.node, imageOf(disk), oursMs, signal), signal);
    for (const { byHand, tookMs } of sides) await byHand(disk, tookMs, signal);
  }
  return sides.map(({ baseline, target, tookMs: baselineMs }) =>
    rowOf({ name: `${name}, ${disk.sizeMiB} MiB`, baseline, oursMs, baselineMs, target }),
  );
}

function figuresOf(idle: DaemonWatch, busy: DaemonWatch, idleMiB: number): Row[] {
  const above = Math.max(...busy.rssMiB) - idleMiB;
  return [
    figureOf({
      name: "memory in pulls above warmed up, most",
      unit: "MiB",
      values: [above],
      target: ALLOWED_RSS_MIB,
    }),
    figureOf({
      name: "event loop's delay in pulls, p99",
      unit: "ms",
      values: [busy.delayP99Ms],
      target: ALLOWED_DELAY_MS,
    }),
    rowOf({
      name: "ListContainers in pulls",
      baseline: "the same, no pull",
      oursMs: busy.listMs,
      baselineMs: idle.listMs,
      hasTail: true,
      target: { none: "the row above has it" },
    }),
  ];
}

/** And gone again: the next one must not find it. */
async function pull(node: TestNode, name: string, tookMs: number[], signal: AbortSignal): Promise<void> {
  const image = ImageSpec.fromPartial({ image: name });
  await timed(tookMs, async () =>
    node.cri.image.pullImage({ image, auth: undefined, sandboxConfig: undefined }, signal),
  );
  await node.cri.image.removeImage({ image }, signal);
}
