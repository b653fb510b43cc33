// Containers and VMs behind one endpoint: Debian's containerd and vmlet, each in turn down, hung, and back.

import { existsSync } from "node:fs";
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { afterAll, beforeAll, beforeEach, expect, test } from "vitest";
import { ContainerState, PodSandboxState } from "../../../src/gen/runtime.ts";
import { run } from "../../../src/lib/spawn.ts";
import { copyCheckout } from "../../node/checkout.ts";
import { CONTAINER_IMAGE, type Containerd, startContainerd } from "../../node/containerd.ts";
import { REPO_PATH } from "../../node/layout.ts";
import { poll } from "../../node/poll.ts";
import { type Router, startRouterProcess } from "../../node/router.ts";
import { startTestNode, type TestNode } from "../../node/test-node.ts";
import { containerConfigOf, httpGet, podConfigOf } from "../e2e/vm-pod.ts";

const suite = AbortSignal.timeout(600_000);
const stack = new AsyncDisposableStack();
let node: TestNode;
let containerd: Containerd;
let router: Router;
let machine: Pod;
let container: Pod;

interface Pod {
  readonly podId: string;
  readonly containerId: string;
}

beforeAll(async () => {
  node = stack.use(await startTestNode({}, suite));
  containerd = stack.use(await startContainerd(node.layout, suite));
  router = stack.use(await startRouterProcess(node.layout, { containersSocketPath: containerd.socketPath }, suite));
}, 180_000);
afterAll(async () => await stack.disposeAsync(), 180_000);

/** Pods that stay from test to test. */
const kept = new Set<string>();

/** What a test that failed has left would fail its second try, and the tests behind it. */
beforeEach(async () => {
  await node.revive(suite);
  for (const program of [containerd, router]) await program.pid().catch(async () => await program.start(suite));
  for (const podSandboxId of (await listed()).pods.filter((id) => !kept.has(id))) {
    await router.cri.runtime.stopPodSandbox({ podSandboxId }, suite);
    await router.cri.runtime.removePodSandbox({ podSandboxId }, suite);
  }
});

async function runPod(name: string, runtimeHandler: "" | "vmlet", image: string): Promise<Pod> {
  const { runtime, image: images } = router.cri;
  const config = podConfigOf(node, name);
  const containerConfig = containerConfigOf(image);
  if (runtimeHandler === "vmlet")
    await images.pullImage({ image: containerConfig.image, auth: undefined, sandboxConfig: config }, suite);
  const { podSandboxId: podId } = await runtime.runPodSandbox({ config, runtimeHandler }, suite);
  const created = await runtime.createContainer(
    { podSandboxId: podId, config: containerConfig, sandboxConfig: config },
    suite,
  );
  await runtime.startContainer({ containerId: created.containerId }, suite);
  return { podId, containerId: created.containerId };
}

async function listed(): Promise<{ pods: string[]; containers: string[] }> {
  const [pods, containers] = await Promise.all([
    router.cri.runtime.listPodSandbox({ filter: undefined }, suite),
    router.cri.runtime.listContainers({ filter: undefined }, suite),
  ]);
  return { pods: pods.items.map(({ id }) => id), containers: containers.containers.map(({ id }) => id) };
}

/** Both pods and both containers, and nothing else. */
const everything = () => ({
  pods: expect.toSatisfy(
    (ids: string[]) => String(ids.toSorted()) === String([container.podId, machine.podId].toSorted()),
  ),
  containers: expect.toSatisfy(
    (ids: string[]) => String(ids.toSorted()) === String([container.containerId, machine.containerId].toSorted()),
  ),
});

async function crictl(...args: string[]): Promise<string> {
  const file = join(REPO_PATH, ".cache/bin/crictl");
  const done = await run(file, ["--config", router.crictlConfigPath, ...args], { env: { HOME: "/root" } }, suite);
  expect(done.exitCode, `crictl ${args.join(" ")}: ${done.stderr}`).toBe(0);
  return done.stdout.toString("utf8");
}

test("a container's pod and a machine's run side by side, on one network", async () => {
  container = await runPod("container", "", CONTAINER_IMAGE);
  machine = await runPod("machine", "vmlet", node.tinyImage);
  for (const { podId } of [container, machine]) kept.add(podId);
  expect(await listed()).toEqual(everything());
  const { status } = await router.cri.runtime.podSandboxStatus({ podSandboxId: machine.podId, verbose: false }, suite);
  expect(await httpGet(`http://${status?.network?.ip}/`, suite)).not.toBe("");
}, 300_000);

const hasCrictl = existsSync(".cache/bin/crictl");

test.skipIf(!hasCrictl)("crictl sees both: pods, ps, images, stats, exec in the container", async () => {
  const both = (text: string): void => {
    for (const { containerId } of [machine, container]) expect(text).toContain(containerId.slice(0, 13));
  };
  both(await crictl("ps"));
  both(await crictl("stats"));
  expect((await crictl("pods", "-q")).trim().split("\n").toSorted()).toEqual(
    [machine.podId, container.podId].toSorted(),
  );
  const images = await crictl("images");
  expect(images).toContain("busybox");
  expect(images).toContain("tiny.qcow2");
  expect((await crictl("exec", "-s", container.containerId, "echo", "hello")).trim()).toBe("hello");
  expect(await crictl("exec", container.containerId, "echo", "streamed")).toBe("streamed\n");
  expect(await crictl("inspect", machine.containerId.slice(0, 12))).toContain(machine.containerId);
});

test("the status has both: containerd's conditions, and vmlet.dev/Ready", async () => {
  const { status, runtimeHandlers } = await router.cri.runtime.status({ verbose: false }, suite);
  expect(status?.conditions.map(({ type, status: isTrue }) => [type, isTrue])).toEqual([
    ["RuntimeReady", true],
    ["NetworkReady", true],
    ["vmlet.dev/Ready", true],
  ]);
  expect(runtimeHandlers.map(({ name }) => name)).toContain("vmlet");
});

test("the log of each is written by its own runtime", async () => {
  const { status } = await router.cri.runtime.containerStatus(
    { containerId: machine.containerId, verbose: false },
    suite,
  );
  await poll(
    async () => ((await readFile(status?.logPath ?? "", "utf8")).length > 0 ? true : undefined),
    { what: "the machine's log", limitMs: 60_000 },
    suite,
  );
});

test("vmlet is killed: lists stay whole, the node stays ready, containers come and go; back, all is as it was", async () => {
  await node.kill(suite);
  expect(await listed()).toEqual(everything());
  const { status } = await router.cri.runtime.status({ verbose: false }, suite);
  expect(status?.conditions.map(({ status: isTrue }) => isTrue)).toEqual([true, true, false]);
  const request = { podSandboxId: machine.podId, verbose: false };
  await expect(router.cri.runtime.podSandboxStatus(request, suite)).rejects.toMatchObject({ code: 14 });
  const other = await runPod("other", "", CONTAINER_IMAGE);
  await router.cri.runtime.stopPodSandbox({ podSandboxId: other.podId }, suite);
  await router.cri.runtime.removePodSandbox({ podSandboxId: other.podId }, suite);
  await node.start(suite);
  await poll(
    async () => (await router.cri.runtime.podSandboxStatus(request, suite)).status,
    { what: "the machine's pod again", limitMs: 20_000 },
    suite,
  );
  expect(await listed()).toEqual(everything());
}, 120_000);

test("vmlet hangs: lists stay whole and are not held up", async () => {
  const pid = await node.daemonPid();
  process.kill(pid, "SIGSTOP");
  try {
    expect(await listed()).toEqual(everything()); // waits for it, once
    const tookMs: number[] = [];
    for (let times = 0; times < 20; times++) {
      const startedAtMs = performance.now();
      expect(await listed()).toEqual(everything());
      tookMs.push(performance.now() - startedAtMs);
    }
    // What a hung vmlet may cost once; a busy machine now and then.
    expect(tookMs.filter((ms) => ms >= 1_000).length, String(tookMs)).toBeLessThan(tookMs.length / 4);
  } finally {
    process.kill(pid, "SIGCONT");
  }
  await poll(
    async () =>
      (await router.cri.runtime.containerStatus({ containerId: machine.containerId, verbose: false }, suite)).status,
    { what: "the machine's container again", limitMs: 20_000 },
    suite,
  );
}, 120_000);

test("vmlet restarts in a loop: every list stays whole, and containers notice nothing", async () => {
  const ask = async (): Promise<void> => {
    expect(await listed()).toEqual(everything());
    await router.cri.runtime.containerStatus({ containerId: container.containerId, verbose: false }, suite);
  };
  await whileAsking(ask, async () => {
    for (let times = 0; times < 3; times++) {
      await node.kill(suite);
      await node.start(suite);
    }
  });
}, 120_000);

test("vmlet is replaced by a newer one: containers notice nothing, no pod is missing from a list, the machine serves on", async () => {
  const newer = join(node.layout.stateFolderPath, "newer");
  await copyCheckout(newer, "9.9.9");
  const request = { podSandboxId: machine.podId, verbose: false };
  const page = `http://${(await router.cri.runtime.podSandboxStatus(request, suite)).status?.network?.ip}/`;
  const before = await node.daemonPid();
  let rounds = 0;
  const ask = async (): Promise<void> => {
    expect(await listed()).toEqual(everything());
    const echo = { containerId: container.containerId, cmd: ["echo", "here"], timeout: 30n };
    expect(Buffer.from((await router.cri.runtime.execSync(echo, suite)).stdout).toString()).toBe("here\n");
    expect(await httpGet(page, suite)).not.toBe("");
    rounds += 1;
  };
  await whileAsking(ask, async () => {
    await node.stop(suite);
    const roundsBefore = rounds;
    await poll(() => rounds > roundsBefore + 1 || undefined, { what: "a round without vmlet", limitMs: 60_000 }, suite);
    await node.startFrom(newer, suite);
  });
  expect(await node.daemonPid()).not.toBe(before);
  expect((await node.cri.runtime.version({ version: "v1" }, suite)).runtimeVersion).toBe("9.9.9");
  const vm = { containerId: machine.containerId, verbose: false };
  const { status } = await poll(
    async () => await router.cri.runtime.containerStatus(vm, suite),
    { what: "the machine's status by the newer one", limitMs: 20_000 },
    suite,
  );
  expect(status?.state).toBe(ContainerState.CONTAINER_RUNNING);
  expect(await listed()).toEqual(everything());
}, 180_000);

test("the router is killed under load: lists are whole again within a second, and with vmlet down too", async () => {
  await node.kill(suite);
  const ending = new AbortController();
  const wrong: unknown[] = [];
  const load = Array.from({ length: 4 }, async () => {
    while (!ending.signal.aborted) {
      const found = await listed().catch(() => undefined); // while the router is away there is no answer
      if (found !== undefined && (found.pods.length !== 2 || found.containers.length !== 2)) wrong.push(found);
    }
  });
  try {
    process.kill(await router.pid(), "SIGKILL");
    const startedAtMs = performance.now();
    await router.start(suite);
    const tookMs = performance.now() - startedAtMs;
    expect(await listed()).toEqual(everything());
    expect(tookMs).toBeLessThan(30_000); // a machine that is busy; well under a second on an idle one
  } finally {
    ending.abort();
    await Promise.all(load);
  }
  expect(wrong).toEqual([]);
  await node.start(suite);
}, 120_000);

test("containerd is down: its pod stays in the lists, the machine goes on, the node is not ready", async () => {
  await containerd.stop(suite);
  expect(await listed()).toEqual(everything());
  await expect(router.cri.runtime.status({ verbose: false }, suite)).rejects.toMatchObject({ code: 14 });
  const request = { containerId: machine.containerId, verbose: false };
  const { status } = await poll(
    async () => await router.cri.runtime.containerStatus(request, suite),
    { what: "the machine's status", limitMs: 20_000 },
    suite,
  );
  expect(status?.state).toBe(ContainerState.CONTAINER_RUNNING);
  await containerd.start(suite);
  const ready = await router.cri.runtime.podSandboxStatus({ podSandboxId: container.podId, verbose: false }, suite);
  expect(ready.status?.state).toBe(PodSandboxState.SANDBOX_READY);
}, 120_000);

test("both are stopped and removed through the router, and leave nothing", async () => {
  for (const { podId: podSandboxId } of [machine, container]) {
    await router.cri.runtime.stopPodSandbox({ podSandboxId }, suite);
    await router.cri.runtime.removePodSandbox({ podSandboxId }, suite);
  }
  expect(await listed()).toEqual({ pods: [], containers: [] });
  expect(await node.leftovers(suite)).toEqual([]);
}, 120_000);

/** Asks again and again while the work is done. Both have ended when it resolves or rejects. */
async function whileAsking(ask: () => Promise<void>, work: () => Promise<void>): Promise<void> {
  const ending = new AbortController();
  const asking = (async (): Promise<void> => {
    while (!ending.signal.aborted) await ask();
  })();
  asking.catch(() => {}); // it is waited for at the end
  try {
    await work();
  } finally {
    ending.abort();
    await asking;
  }
}
