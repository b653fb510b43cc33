// What the router costs: calls of a Go client, as the kubelet is one, through it and past it in turns; and its memory.

import { existsSync } from "node:fs";
import { join } from "node:path";
import { containerConfigOf, podConfigOf } from "../../test/integration/e2e/vm-pod.ts";
import { output } from "../../test/node/command.ts";
import { CONTAINER_IMAGE, startContainerd } from "../../test/node/containerd.ts";
import { type CriClient, connectCri } from "../../test/node/cri-client.ts";
import { REPO_PATH } from "../../test/node/layout.ts";
import { type Router, startRouterProcess } from "../../test/node/router.ts";
import type { Bench } from "../bench.ts";
import { inLanes } from "../lanes.ts";
import { residentMiB } from "../memory.ts";
import { removePods } from "../pods.ts";
import { figureOf, quantile, type Row, rowOf } from "../table.ts";

const CLIENT_PATH = join(REPO_PATH, ".cache/bin/crilatency");
const ADDED_P50_MS = 0.4;
/** Of the direct call's p99, and added to it. */
const TAIL = { factor: 1.5, addedMs: 1 };
const RSS_MIB = 110;

type Times = Readonly<Record<string, { readonly routed: readonly number[]; readonly direct: readonly number[] }>>;

export async function routerRows(bench: Bench, signal: AbortSignal): Promise<Row[]> {
  if (!existsSync(CLIENT_PATH)) {
    bench.say("router: SKIPPED: its Go client could not be built");
    return [];
  }
  const { node, isQuick, say } = bench;
  await using containerd = await startContainerd(node.layout, signal);
  await using router = await startRouterProcess(node.layout, { containersSocketPath: containerd.socketPath }, signal);
  const count = isQuick ? 2 : 50;
  say(`router: ${count} pods of machines, ${count} of containers`);
  using containers = connectCri(containerd.socketPath);
  await using machinePods = await createPods(bench, { cri: node.cri, image: node.tinyImage, count }, signal);
  await using containerPods = await createPods(bench, { cri: containers, image: CONTAINER_IMAGE, count }, signal);
  const sockets = { router: router.socketPath, machines: node.layout.socketPath, containers: containerd.socketPath };
  const ids = { machine: machinePods.containerId, container: containerPods.containerId };
  const known = Object.entries({ ...sockets, ...ids }).map(([flag, value]) => `-${flag}=${value}`);
  const client = async (...args: string[]): Promise<string> => await output([CLIENT_PATH, ...known, ...args], signal);
  say("router: calls through it and past it");
  const times = JSON.parse(await client("-calls", isQuick ? "100" : "3000")) as Times;
  const rows = Object.entries(times).flatMap(([name, took]) => costRows(`${name}, ${2 * count} pods`, took));
  return [...rows, ...(await memoryRows(bench, router, client))];
}

function costRows(name: string, { routed, direct }: Times[string]): Row[] {
  const through = { name: `${name}, router`, baseline: "the runtimes themselves", oursMs: routed, baselineMs: direct };
  const directP99 = quantile(direct, 0.99);
  return [
    rowOf({
      ...through,
      hasTail: true,
      isJudgedByTail: true,
      target: (TAIL.factor * directP99 + TAIL.addedMs) / directP99,
    }),
    figureOf({
      name: `${name}, router adds to the median`,
      unit: "ms",
      values: [quantile(routed, 0.5) - quantile(direct, 0.5)],
      target: ADDED_P50_MS,
    }),
  ];
}

/** After half of the calls, and after all: where it still grows, the second says so. */
async function memoryRows(
  { isQuick, say }: Bench,
  router: Router,
  client: (...args: string[]) => Promise<string>,
): Promise<Row[]> {
  const half = isQuick ? 500 : 50_000;
  const rows: Row[] = [];
  for (const calls of [half, 2 * half]) {
    say(`router: ${half} calls more, eight at a time`);
    await client("-load", `${half}`);
    const values = [await residentMiB(await router.pid())];
    rows.push(figureOf({ name: `router's memory after ${calls} calls`, unit: "MiB", values, target: RSS_MIB }));
  }
  return rows;
}

interface Pods extends AsyncDisposable {
  /** Of one of them. */
  readonly containerId: string;
}

interface PodsPlan {
  readonly cri: CriClient;
  readonly image: string;
  readonly count: number;
}

/** Each with a container that is created and not started. Disposing removes them. */
async function createPods({ node }: Bench, { cri, image, count }: PodsPlan, signal: AbortSignal): Promise<Pods> {
  await using undo = new AsyncDisposableStack();
  const podIds: string[] = [];
  const containerIds: string[] = [];
  undo.defer(async () => await removePods(cri, podIds, AbortSignal.timeout(300_000)));
  const container = containerConfigOf(image);
  if (image === node.tinyImage)
    await cri.image.pullImage({ image: container.image, auth: undefined, sandboxConfig: undefined }, signal);
  await inLanes(
    Array.from({ length: count }, (_, index) => `router-${index}`),
    async (name) => {
      const config = podConfigOf(node, name);
      const { podSandboxId } = await cri.runtime.runPodSandbox({ config, runtimeHandler: "" }, signal);
      podIds.push(podSandboxId);
      const request = { podSandboxId, config: container, sandboxConfig: config };
      containerIds.push((await cri.runtime.createContainer(request, signal)).containerId);
    },
  );
  const parts = undo.move();
  return { containerId: containerIds[0] ?? "", [Symbol.asyncDispose]: async () => await parts.disposeAsync() };
}
