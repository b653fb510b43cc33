import { credentials, makeGenericClientConstructor } from "@grpc/grpc-js";
import { describe, expect, test } from "vitest";
import { ContainerEventType, ListPodSandboxResponse, PodSandbox, PodSandboxState } from "../../../src/gen/runtime.ts";
import { FUTURE_SERVICE } from "../../fakes/cri-runtime.ts";
import { CODE, idsOf, MACHINE_IMAGE, siteOfEachTest, until } from "./pods.ts";

const here = siteOfEachTest();
const { call, runPod, runContainer, listPods } = here;

describe("where a call goes", () => {
  test("a pod goes to the runtime whose handler it names, and every later call follows its id", async () => {
    const [machine, container] = [await runPod("vmlet"), await runPod("", "web")];
    expect(here.site.machines.pods.has(machine)).toBe(true);
    expect(here.site.containers.pods.has(container)).toBe(true);
    const vm = await runContainer(machine, MACHINE_IMAGE);
    await runContainer(container, "nginx");
    expect(await call("Exec", { containerId: vm })).toEqual({ url: "http://127.0.0.1:1/vmlet" });
    await call("StopPodSandbox", { podSandboxId: machine });
    expect(here.site.machines.called("StopPodSandbox")).toHaveLength(1);
    expect(here.site.containers.called("StopPodSandbox")).toHaveLength(0);
  });

  test("an id may be given by its beginning", async () => {
    const id = await runPod("vmlet");
    expect((await call("PodSandboxStatus", { podSandboxId: id.slice(0, 9) }).catch((error) => error)).details).toMatch(
      /^vmlet has no/, // the fake takes whole ids only: what counts is who was asked
    );
  });

  test("an id that was made behind the router's back is found by asking both", async () => {
    here.site.machines.pods.set("b".repeat(64), {
      id: "b".repeat(64),
      metadata: undefined,
      state: PodSandboxState.SANDBOX_READY,
      createdAt: 1n,
      labels: {},
      annotations: {},
      runtimeHandler: "vmlet",
    });
    await call("StopPodSandbox", { podSandboxId: "b".repeat(64) });
    expect(here.site.machines.called("StopPodSandbox")).toHaveLength(1);
  });

  test("an id that nobody has is the containers' to answer", async () => {
    await expect(call("PodSandboxStatus", { podSandboxId: "nobody" })).rejects.toMatchObject({
      code: CODE.NOT_FOUND,
      details: "containerd has no nobody",
    });
  });

  test("the end of what nobody has succeeds where either runtime says so, as CRI wants it", async () => {
    const stop = async () => await call("StopPodSandbox", { podSandboxId: "nobody" });
    await expect(stop()).rejects.toMatchObject({ code: CODE.NOT_FOUND, details: "containerd has no nobody" });
    here.site.machines.answers.set("StopPodSandbox", () => ({}));
    await stop();
    expect(here.site.containers.called("StopPodSandbox")).toHaveLength(2);
  });

  test("what nobody has is refused by the containers' runtime alone where it is not to be ended", async () => {
    const config = { metadata: { name: "main", attempt: 0 }, image: { image: "nginx" } };
    const details = expect.stringContaining("containerd has no nobody");
    await expect(call("CreateContainer", { podSandboxId: "nobody", config })).rejects.toMatchObject({ details });
    await expect(call("StartContainer", { containerId: "nobody" })).rejects.toMatchObject({ details });
    expect([...here.site.machines.called("CreateContainer"), ...here.site.machines.called("StartContainer")]).toEqual(
      [],
    );
  });

  test.each([
    ["its name", { image: { image: MACHINE_IMAGE } }],
    ["a prefix of registries", { image: { image: "quay.io/containerdisks/debian:12" } }],
    ["the handler that the kubelet adds", { image: { image: "web", runtimeHandler: "vmlet" } }],
  ])("an image is pulled by the machines' runtime because of %s", async (_why, request) => {
    await call("PullImage", request);
    expect(here.site.machines.called("PullImage")).toHaveLength(1);
    expect(here.site.containers.called("PullImage")).toHaveLength(0);
  });

  test("any other image is containers', unless it is pulled for a machine's pod", async () => {
    await runPod("vmlet");
    await call("PullImage", { image: { image: "nginx" }, sandboxConfig: { metadata: { uid: "uid-web" } } });
    expect(here.site.containers.called("PullImage")).toHaveLength(1);
    await call("PullImage", { image: { image: "nginx" }, sandboxConfig: { metadata: { uid: "uid-vmlet" } } });
    expect(here.site.machines.called("PullImage")).toHaveLength(1);
  });

  test.each([true, false])("an image's id leads to whoever has it (listed before: %s)", async (isListed) => {
    await call("PullImage", { image: { image: MACHINE_IMAGE } });
    if (isListed) await call("ListImages");
    await call("RemoveImage", { image: { image: "sha256:vmlet" } });
    expect(here.site.machines.called("RemoveImage")).toHaveLength(1);
  });

  test("a service of tomorrow is passed on, messages unread, to the containers' runtime", async () => {
    const Client = makeGenericClientConstructor(FUTURE_SERVICE as never, "Future");
    const future = new Client(`unix:${here.site.socketPath}`, credentials.createInsecure()) as unknown as {
      tell(request: unknown, done: (error: unknown, answer: unknown) => void): void;
      close(): void;
    };
    const { promise, resolve, reject } = Promise.withResolvers<unknown>();
    future.tell({ text: "hello" }, (error, answer) => (error ? reject(error) : resolve(answer)));
    expect(await promise).toEqual({ text: "containerd: hello" });
    future.close();
  });
});

describe("what is put together", () => {
  test("fields of tomorrow come through, in what is passed on and in lists of both", async () => {
    const tomorrow = Buffer.from([0xfa, 0x3e, 3, ...Buffer.from("new")]); // field 1007, three bytes long
    const item = Buffer.concat([PodSandbox.encode(PodSandbox.fromPartial({ id: "pod-1" })).finish(), tomorrow]);
    here.site.machines.answers.set("ListPodSandbox", () => Buffer.concat([Buffer.from([0x0a, item.length]), item]));
    here.site.containers.answers.set("RuntimeConfig", () => tomorrow);
    const container = await runPod("", "web");
    const bytes = await here.site.bytesOf("ListPodSandbox");
    expect(idsOf(ListPodSandboxResponse.decode(bytes).items)).toEqual([container, "pod-1"]);
    expect(bytes.includes(item)).toBe(true);
    expect(await here.site.bytesOf("RuntimeConfig")).toEqual(tomorrow);
  });

  test("lists have the pods, containers, images and figures of both", async () => {
    const [machine, container] = [await runPod("vmlet"), await runPod("", "web")];
    const [vm, web] = [await runContainer(machine, MACHINE_IMAGE), await runContainer(container, "nginx")];
    expect(await listPods()).toEqual([container, machine]);
    expect(idsOf((await call("ListContainers")).containers)).toEqual([web, vm]);
    expect(idsOf((await call("ListImages")).images)).toEqual(["sha256:containerd", "sha256:vmlet"]);
    const { stats } = await call("ListContainerStats");
    expect(stats.map(({ attributes }) => attributes?.id)).toEqual([web, vm]);
  });

  test("a streamed list brings both, message by message", async () => {
    const ids = [await runPod("", "web"), await runPod("vmlet")];
    const stream = here.client.runtime.streamPodSandboxes({ filter: undefined });
    const pods = (await Array.fromAsync(stream)).flatMap(({ podSandboxes }) => podSandboxes);
    expect(idsOf(pods)).toEqual(ids);
  });

  test("a filter holds for both", async () => {
    const machine = await runPod("vmlet");
    await runPod("", "web");
    expect(await listPods({ filter: { labelSelector: { app: "vmlet" } } })).toEqual([machine]);
  });

  test("the kubelet sees the containers' file systems first", async () => {
    const { imageFilesystems, containerFilesystems } = await call("ImageFsInfo");
    const points = [imageFilesystems, containerFilesystems].map((list) => list.map(({ fsId }) => fsId?.mountpoint));
    expect(points).toEqual([
      ["containerd", "vmlet"],
      ["containerd", "vmlet"],
    ]);
  });

  test("the status has a condition and a handler for machines", async () => {
    const { status, runtimeHandlers, info } = await call("Status", { verbose: true });
    expect(status?.conditions).toMatchObject([
      { type: "RuntimeReady", status: true },
      { type: "NetworkReady", status: true },
      { type: "vmlet.dev/Ready", status: true },
    ]);
    expect(runtimeHandlers.map(({ name }) => name)).toEqual(["", "containerd", "vmlet"]);
    expect(Object.keys(info)).toEqual(["config", "vmlet.dev/config"]);
  });

  test("a containers' runtime that names no handlers gets the one that each of them has, or the kubelet knows none for its pods", async () => {
    here.site.containers.runtimeHandlers = [];
    const names = async () => (await call("Status")).runtimeHandlers.map(({ name }) => name);
    expect(await names()).toEqual(["", "vmlet"]);
    await here.site.machines.kill();
    expect(await names()).toEqual([]);
  });

  test("events of both come as they happen, and the machines' again after a restart of their runtime", async () => {
    const events = here.client.runtime.getContainerEvents({});
    const seen: string[] = [];
    events.on("data", ({ containerId }) => seen.push(containerId)).on("error", () => {});
    const event = (containerId: string) => ({
      containerId,
      containerEventType: ContainerEventType.CONTAINER_STARTED_EVENT,
      createdAt: 1n,
      podSandboxStatus: undefined,
      containersStatuses: [],
    });
    await until(
      "both are listened to",
      () => here.site.containers.listeners === 1 && here.site.machines.listeners === 1,
    );
    here.site.containers.emit(event("web"));
    here.site.machines.emit(event("vm"));
    await until("both events", () => seen.length === 2);
    await here.site.machines.kill();
    await here.site.machines.start();
    await until("heard again", () => here.site.machines.listeners === 1);
    here.site.machines.emit(event("again"));
    await until("the third event", () => seen.includes("again"));
    events.cancel();
  });
});

describe("an image on the wrong side", () => {
  test("of containers, in a machine's pod, is NOT_FOUND with the remedy", async () => {
    const machine = await runPod("vmlet");
    await call("PullImage", { image: { image: "nginx" } });
    const config = { metadata: { name: "main" }, image: { image: "nginx" } };
    await expect(call("CreateContainer", { podSandboxId: machine, config })).rejects.toMatchObject({
      code: CODE.NOT_FOUND,
      details: expect.stringMatching(/image nginx .*vmlet\.dev\/…/),
    });
  });

  test("of machines, in a container's pod, is NOT_FOUND with the remedy", async () => {
    const container = await runPod("", "web");
    await call("PullImage", { image: { image: MACHINE_IMAGE } });
    const config = { metadata: { name: "main" }, image: { image: MACHINE_IMAGE } };
    await expect(call("CreateContainer", { podSandboxId: container, config })).rejects.toMatchObject({
      code: CODE.NOT_FOUND,
      details: expect.stringContaining("runtimeClassName"),
    });
  });
});

test("a caller that goes away takes its call along", async () => {
  here.site.containers.hang = new Promise(() => {});
  const waiting = here.client.runtime.version({ version: "" }, () => {});
  await until("the call arrived", () => here.site.containers.called("Version").length === 1);
  waiting.cancel();
  here.site.containers.hang = undefined;
  expect((await call("Version")).runtimeName).toBe("containerd");
});
