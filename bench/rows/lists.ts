// What the kubelet asks every second, with few pods and with many, beside an empty gRPC handler with the same bytes.
// The pods have created containers and no running VM: lists are answered from memory, whatever the VMs do.

import { spawn } from "node:child_process";
import { once } from "node:events";
import { rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import {
  ContainerStatusResponse,
  ListContainersRequest,
  ListContainersResponse,
  ListPodSandboxRequest,
  ListPodSandboxResponse,
  RuntimeServiceService,
} from "../../src/gen/runtime.ts";
import { VmPod } from "../../test/integration/e2e/vm-pod.ts";
import { type CriClient, connectCri } from "../../test/node/cri-client.ts";
import { poll } from "../../test/node/poll.ts";
import { type Bench, timed } from "../bench.ts";
import { inLanes } from "../lanes.ts";
import { type Row, rowOf } from "../table.ts";

interface Call {
  readonly name: string;
  readonly path: string;
  readonly call: (cri: CriClient) => Promise<unknown>;
  /** The answer as it is on the wire. */
  readonly bytes: (cri: CriClient) => Promise<Uint8Array>;
}

const BASELINE = "an empty grpc-js handler, same bytes";

export async function listRows(bench: Bench, signal: AbortSignal): Promise<Row[]> {
  const pods: VmPod[] = [];
  try {
    const rows: Row[] = [];
    for (const count of bench.isQuick ? [1, 5] : [1, 50]) {
      bench.say(`lists: ${count - pods.length} more pods, each with a created container`);
      await addPods(bench, pods, count, signal);
      bench.say(`lists of ${count}`);
      rows.push(...(await rowsAt(bench, pods, signal)));
    }
    return rows;
  } finally {
    bench.say(`lists: ${pods.length} pods go`);
    await inLanes(pods, async (pod) => await pod.remove(AbortSignal.timeout(120_000)));
  }
}

async function addPods({ node }: Bench, pods: VmPod[], count: number, signal: AbortSignal): Promise<void> {
  const names = Array.from({ length: count - pods.length }, (_, index) => `list-${pods.length + index}`);
  await inLanes(names, async (name) => void pods.push(await VmPod.create(node, { name }, signal)));
}

async function rowsAt(bench: Bench, pods: readonly VmPod[], signal: AbortSignal): Promise<Row[]> {
  const { node, isQuick } = bench;
  const calls = callsFor(pods[0]?.containerId ?? "", signal);
  await using empty = await serveAnswers(bench, calls, signal);
  const rows: Row[] = [];
  for (const { name, call } of calls) {
    const oursMs: number[] = [];
    const baselineMs: number[] = [];
    const warmUp = isQuick ? 20 : 300;
    for (let turn = 0; turn < (isQuick ? 50 : 1000) + warmUp; turn += 1) {
      await timed(turn < warmUp ? [] : oursMs, () => call(node.cri));
      await timed(turn < warmUp ? [] : baselineMs, () => call(empty.cri));
    }
    const what = `${name}, ${pods.length} ${pods.length === 1 ? "pod" : "pods"}`;
    rows.push(rowOf({ name: what, baseline: BASELINE, oursMs, baselineMs, hasTail: true, target: 2 }));
  }
  return rows;
}

function callsFor(containerId: string, signal: AbortSignal): readonly Call[] {
  const { listPodSandbox, listContainers, containerStatus } = RuntimeServiceService;
  const pods = ListPodSandboxRequest.fromPartial({});
  const containers = ListContainersRequest.fromPartial({});
  const status = { containerId, verbose: false };
  return [
    {
      name: "ListPodSandbox",
      path: listPodSandbox.path,
      call: (cri) => cri.runtime.listPodSandbox(pods, signal),
      bytes: async (cri) => ListPodSandboxResponse.encode(await cri.runtime.listPodSandbox(pods, signal)).finish(),
    },
    {
      name: "ListContainers",
      path: listContainers.path,
      call: (cri) => cri.runtime.listContainers(containers, signal),
      bytes: async (cri) =>
        ListContainersResponse.encode(await cri.runtime.listContainers(containers, signal)).finish(),
    },
    {
      name: "ContainerStatus",
      path: containerStatus.path,
      call: (cri) => cri.runtime.containerStatus(status, signal),
      bytes: async (cri) => ContainerStatusResponse.encode(await cri.runtime.containerStatus(status, signal)).finish(),
    },
  ];
}

/** Another process, as the daemon is one. */
async function serveAnswers(
  { node }: Bench,
  calls: readonly Call[],
  signal: AbortSignal,
): Promise<AsyncDisposable & { readonly cri: CriClient }> {
  const socketPath = join(node.layout.runFolderPath, "empty.sock");
  const answersPath = join(node.layout.runFolderPath, "empty.json");
  const answers: Record<string, string> = {};
  for (const { path, bytes } of calls) answers[path] = Buffer.from(await bytes(node.cri)).toString("base64");
  await writeFile(answersPath, JSON.stringify(answers));

  await using undo = new AsyncDisposableStack();
  undo.defer(async () => await rm(socketPath, { force: true }));
  const child = spawn(process.execPath, [join(import.meta.dirname, "../empty-server.ts"), socketPath, answersPath], {
    stdio: ["ignore", "inherit", "inherit"],
  });
  undo.defer(async () => {
    if (child.exitCode !== null || !child.kill("SIGKILL")) return;
    await once(child, "exit");
  });
  const cri = undo.use(connectCri(socketPath));
  const first = calls[0];
  await poll(
    async () => (first ? await first.call(cri).then(() => true) : undefined),
    { what: "the empty server", limitMs: 20_000 },
    signal,
  );
  const parts = undo.move();
  return { cri, [Symbol.asyncDispose]: async () => await parts.disposeAsync() };
}
