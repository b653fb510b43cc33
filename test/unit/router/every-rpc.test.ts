// Every RPC of the CRI through the router, once for a machine and once for a container: each reaches whom it is for, as it was sent.

import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { afterAll, beforeAll, beforeEach, describe, expect, test } from "vitest";
import { ImageServiceService, RuntimeServiceService } from "../../../src/gen/runtime.ts";
import { type CriRuntime, messageType } from "../../fakes/cri-runtime.ts";
import { REPO_PATH } from "../../node/layout.ts";
import { poll } from "../../node/poll.ts";
import { type Caller, Site } from "./site.ts";

type Kind = "machines" | "containers";

/** What there is of a kind. */
interface Things {
  readonly runtimeHandler: string;
  readonly podSandboxId: string;
  readonly containerId: string;
  readonly image: string;
}

interface Row {
  /** Who must hear it: the runtime of the thing that it names, both, or the containers' because it names nothing. */
  readonly to: "its runtime" | "both" | "containers";
  readonly request?: (things: Things) => object;
}

const pod: Row = { to: "its runtime", request: ({ podSandboxId }) => ({ podSandboxId }) };
const container: Row = { to: "its runtime", request: ({ containerId }) => ({ containerId }) };
const image: Row = { to: "its runtime", request: (things) => ({ image: { image: things.image } }) };
const both: Row = { to: "both" };

const ROWS: Readonly<Record<string, Row>> = {
  Version: { to: "containers" },
  RunPodSandbox: {
    to: "its runtime",
    request: ({ runtimeHandler }) => ({ runtimeHandler, config: { hostname: "new" } }),
  },
  StopPodSandbox: pod,
  RemovePodSandbox: pod,
  PodSandboxStatus: pod,
  ListPodSandbox: both,
  StreamPodSandboxes: both,
  CreateContainer: pod,
  StartContainer: container,
  StopContainer: container,
  RemoveContainer: container,
  ListContainers: both,
  StreamContainers: both,
  ContainerStatus: container,
  UpdateContainerResources: container,
  ReopenContainerLog: container,
  ExecSync: container,
  Exec: container,
  Attach: container,
  PortForward: pod,
  ContainerStats: container,
  ListContainerStats: both,
  StreamContainerStats: both,
  PodSandboxStats: pod,
  ListPodSandboxStats: both,
  StreamPodSandboxStats: both,
  UpdateRuntimeConfig: both,
  Status: both,
  CheckpointContainer: container,
  GetContainerEvents: both,
  ListMetricDescriptors: both,
  ListPodSandboxMetrics: both,
  StreamPodSandboxMetrics: both,
  RuntimeConfig: { to: "containers" },
  UpdatePodSandboxResources: pod,
  CheckpointPod: pod,
  RestorePod: { to: "its runtime", request: ({ runtimeHandler }) => ({ runtimeHandler }) },
  ListImages: both,
  StreamImages: both,
  ImageStatus: image,
  PullImage: image,
  RemoveImage: image,
  ImageFsInfo: both,
};

const METHODS = Object.values({ ...RuntimeServiceService, ...ImageServiceService }).map((method) => ({
  ...method,
  name: method.path.slice(method.path.lastIndexOf("/") + 1),
}));

test("the table has every RPC of the proto, and no other", async () => {
  const proto = await readFile(join(REPO_PATH, "proto/runtime.proto"), "utf8");
  const names = [...proto.matchAll(/^ +rpc (\w+)\(/gm)].map(([, name = ""]) => name);
  expect(names.length).toBeGreaterThan(40);
  expect(Object.keys(ROWS).toSorted()).toEqual(names.toSorted());
  expect(METHODS.map(({ name }) => name).toSorted()).toEqual(names.toSorted());
});

describe.each<Kind>(["machines", "containers"])("of %s", (kind) => {
  let site: Site;
  let client: Caller;
  let things: Things;

  beforeAll(async () => {
    site = await Site.open();
    client = site.client();
  });
  afterAll(async () => await site[Symbol.asyncDispose]());

  beforeEach(async () => {
    for (const runtime of [site.machines, site.containers]) runtime.answers.clear();
    const runtimeHandler = kind === "machines" ? "vmlet" : "";
    const name = kind === "machines" ? "vmlet.dev/debian" : "nginx";
    const metadata = { name: "web", uid: "uid-web", namespace: "default", attempt: 0 };
    const { podSandboxId } = await client.call("RunPodSandbox", { config: { metadata }, runtimeHandler });
    await client.call("PullImage", { image: { image: name } });
    const config = { metadata: { name: "main", attempt: 0 }, image: { image: name } };
    const { containerId } = await client.call("CreateContainer", { podSandboxId, config });
    things = { runtimeHandler, podSandboxId, containerId, image: name };
  });

  test.each(METHODS)("$name", async ({ name, responseStream, requestSerialize }) => {
    const { to, request = () => ({}) } = ROWS[name] as Row;
    const runtimes = { machines: site.machines, containers: site.containers };
    for (const runtime of Object.values(runtimes)) {
      runtime.calls.length = 0;
      const given = answerOf(name, runtime);
      runtime.answers.set(name, () => (responseStream ? [given] : given));
    }
    const sent = messageType(requestNameOf(name))?.fromPartial(request(things)) as never;
    if (name === "GetContainerEvents") return await hearsBoth(site, client);

    const answers = responseStream ? await streamed(client, name, sent) : [await client.call(name as "Version", sent)];
    const meant = to === "both" ? ["containers", "machines"] : [to === "containers" ? "containers" : kind];
    for (const [which, runtime] of Object.entries(runtimes)) {
      const heard = runtime.called(name);
      if (!meant.includes(which)) expect(heard).toEqual([]);
      else expect(heard.map((one) => requestSerialize(one as never))).toEqual([requestSerialize(sent)]);
    }
    // What one of them answered is what the caller gets; what both say is put together: router.test.ts.
    if (to !== "both") expect(answers).toMatchObject([answerOf(name, runtimes[meant[0] as Kind])]);
  });
});

/** One that tells whose it is, where the message has a place for that. */
function answerOf(name: string, { name: runtime }: CriRuntime): object {
  const places: Readonly<Record<string, object>> = {
    Version: { runtimeName: runtime },
    RunPodSandbox: { podSandboxId: `${runtime}-pod` },
    PodSandboxStatus: { info: { of: runtime } },
    CreateContainer: { containerId: `${runtime}-container` },
    ContainerStatus: { info: { of: runtime } },
    ExecSync: { exitCode: runtime.length },
    Exec: { url: `http://127.0.0.1/${runtime}` },
    Attach: { url: `http://127.0.0.1/${runtime}` },
    PortForward: { url: `http://127.0.0.1/${runtime}` },
    PodSandboxStats: { stats: { attributes: { id: runtime } } },
    ContainerStats: { stats: { attributes: { id: runtime } } },
    Status: { status: { conditions: [] }, runtimeHandlers: [] },
    ImageStatus: { info: { of: runtime } },
    PullImage: { imageRef: runtime },
  };
  return places[name] ?? {};
}

const requestNameOf = (name: string): string => (name === "GetContainerEvents" ? "GetEventsRequest" : `${name}Request`);

async function streamed({ runtime, images }: Caller, name: string, request: unknown): Promise<unknown[]> {
  const method = `${name[0]?.toLowerCase()}${name.slice(1)}`;
  const owner = (method in runtime ? runtime : images) as unknown as Record<string, Streaming>;
  return await Array.fromAsync(owner[method]?.call(owner, request) ?? []);
}

type Streaming = (request: unknown) => AsyncIterable<unknown>;

async function hearsBoth(site: Site, { runtime }: Caller): Promise<void> {
  const events = runtime.getContainerEvents({});
  const seen = new Set<string>();
  events.on("data", ({ containerId }) => seen.add(containerId)).on("error", () => {});
  const until = async (what: string, isSo: () => boolean): Promise<unknown> =>
    await poll(() => isSo() || undefined, { what, limitMs: 10_000, everyMs: 10 }, AbortSignal.timeout(20_000));
  await until("both are listened to", () => site.containers.listeners === 1 && site.machines.listeners === 1);
  for (const one of [site.containers, site.machines])
    one.emit({
      containerId: one.name,
      containerEventType: 1,
      createdAt: 1n,
      podSandboxStatus: undefined,
      containersStatuses: [],
    });
  await until("both events", () => seen.size === 2);
  events.cancel();
}
