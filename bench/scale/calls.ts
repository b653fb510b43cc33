// What the kubelet asks again and again, and what answers it as cheaply as gRPC can: an empty handler with the same bytes.

import { spawn } from "node:child_process";
import { once } from "node:events";
import { rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import {
  ContainerStatusResponse,
  ListContainerStatsResponse,
  ListContainersResponse,
  ListPodSandboxResponse,
  ListPodSandboxStatsResponse,
  RuntimeServiceService,
} from "../../src/gen/runtime.ts";
import { type CriClient, connectCri } from "../../test/node/cri-client.ts";
import { poll } from "../../test/node/poll.ts";
import type { Bench } from "../bench.ts";

/** Somebody who answers, and a container that it has. */
export interface Answerer {
  readonly cri: CriClient;
  readonly containerId: string;
}

export interface Call {
  readonly name: string;
  readonly path: string;
  readonly ask: (of: Answerer) => Promise<unknown>;
  /** The answer as it is on the wire. */
  readonly bytes: (of: Answerer) => Promise<Uint8Array>;
}

export interface Calls {
  /** Answered from memory. */
  readonly lists: readonly Call[];
  readonly stats: readonly Call[];
}

export function callsOf(signal: AbortSignal): Calls {
  const service = RuntimeServiceService;
  const all = { filter: undefined };
  const call = <Answer>(
    name: string,
    { path }: { readonly path: string },
    ask: (of: Answerer) => Promise<Answer>,
    { encode }: { readonly encode: (answer: Answer) => { finish(): Uint8Array } },
  ): Call => ({ name, path, ask, bytes: async (of) => encode(await ask(of)).finish() });
  return {
    lists: [
      call(
        "ListPodSandbox",
        service.listPodSandbox,
        ({ cri }) => cri.runtime.listPodSandbox(all, signal),
        ListPodSandboxResponse,
      ),
      call(
        "ListContainers",
        service.listContainers,
        ({ cri }) => cri.runtime.listContainers(all, signal),
        ListContainersResponse,
      ),
      call(
        "ContainerStatus",
        service.containerStatus,
        ({ cri, containerId }) => cri.runtime.containerStatus({ containerId, verbose: false }, signal),
        ContainerStatusResponse,
      ),
    ],
    stats: [
      call(
        "ListContainerStats",
        service.listContainerStats,
        ({ cri }) => cri.runtime.listContainerStats(all, signal),
        ListContainerStatsResponse,
      ),
      call(
        "ListPodSandboxStats",
        service.listPodSandboxStats,
        ({ cri }) => cri.runtime.listPodSandboxStats(all, signal),
        ListPodSandboxStatsResponse,
      ),
    ],
  };
}

/** Another process, as the daemon is one: it gives the answers that `ours` gave. */
export async function serveSameBytes(
  { node }: Bench,
  { lists, stats }: Calls,
  ours: Answerer,
  signal: AbortSignal,
): Promise<AsyncDisposable & Answerer> {
  const socketPath = join(node.layout.runFolderPath, "empty.sock");
  const answersPath = join(node.layout.runFolderPath, "empty.json");
  const answers: Record<string, string> = {};
  for (const { path, bytes } of [...lists, ...stats]) answers[path] = Buffer.from(await bytes(ours)).toString("base64");
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
  const empty = { cri: undo.use(connectCri(socketPath)), containerId: ours.containerId };
  await poll(
    async () => (await lists[0]?.ask(empty)) !== undefined || undefined,
    { what: "the empty server", limitMs: 20_000 },
    signal,
  );
  const parts = undo.move();
  return { ...empty, [Symbol.asyncDispose]: async () => await parts.disposeAsync() };
}
