// A node is rebooted, loses its records for a while, and is worked on by hand: no VM is lost, what is told follows, and
// what is not ours is not touched.

import { readdir, readFile, rename, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { afterAll, beforeAll, beforeEach, describe, expect, test } from "vitest";
import { ContainerState, PodSandboxState } from "../../../src/gen/runtime.ts";
import { output } from "../../node/command.ts";
import { poll } from "../../node/poll.ts";
import { removePods } from "../../node/teardown.ts";
import { startTestNode, type TestNode } from "../../node/test-node.ts";
import { Foreigners } from "./foreigners.ts";
import { qemuPid, qemuPids } from "./qemu-process.ts";
import { BOOT_LIMIT_MS, httpGet, VmPod, virsh } from "./vm-pod.ts";

const TEST_LIMIT_MS = 2 * BOOT_LIMIT_MS;
const suite = AbortSignal.timeout(20 * 60_000);
/** From the end of the person's command on, unless the machine is too busy: so much is waited for, and most of it is there sooner. */
const FOLLOWS = { limitMs: 30_000, usuallyMs: 1_000 };

let node: TestNode;
let foreigners: Foreigners;
beforeAll(async () => {
  node = await startTestNode({}, suite);
  foreigners = await Foreigners.bring(node.layout, suite);
});
afterAll(async () => {
  await foreigners?.[Symbol.asyncDispose]();
  await node?.[Symbol.asyncDispose]();
});
beforeEach(async () => await node.revive(suite));

describe("by hand", () => {
  let pod: VmPod;
  let domain = "";
  const followedMs: number[] = [];
  const follows = async <T>(what: string, ask: () => Promise<T | undefined>): Promise<T> => {
    const startedAtMs = performance.now();
    const found = await poll(ask, { what, limitMs: FOLLOWS.limitMs, everyMs: 20 }, suite);
    followedMs.push(performance.now() - startedAtMs);
    return found;
  };
  const messageMatches = async (pattern: RegExp): Promise<true | undefined> =>
    pattern.test((await pod.status(suite)).message) || undefined;
  const untilExited = async () =>
    await follows("the end of the container", async () => {
      const status = await pod.status(suite);
      return status.state === ContainerState.CONTAINER_EXITED ? status : undefined;
    });

  beforeAll(async () => {
    pod = await VmPod.start(node, { name: "handled" }, suite);
    domain = await pod.domain(suite);
    expect(await httpGet(`http://${await pod.ip(suite)}/`, suite)).toContain("handled");
  }, TEST_LIMIT_MS);

  test("virsh suspend is told as paused, not as the end, and virsh resume takes it back", async () => {
    const before = await pod.status(suite);
    await virsh(["suspend", domain], suite);
    await follows("the word of a pause", async () => await messageMatches(/paused/));
    expect(await pod.status(suite)).toMatchObject({ state: ContainerState.CONTAINER_RUNNING });
    await virsh(["resume", domain], suite);
    await follows("no word of a pause", async () => await messageMatches(/^$/));
    expect(await pod.status(suite)).toEqual(before);
  });

  test("virsh reset reboots the guest, and it keeps its status and its network", {
    timeout: TEST_LIMIT_MS,
  }, async () => {
    const before = await pod.status(suite);
    await virsh(["reset", domain], suite);
    expect(await httpGet(`http://${await pod.ip(suite)}/`, suite)).toContain("handled");
    expect(await pod.status(suite)).toEqual(before);
  });

  test("virsh managedsave ends the container, and virsh start does not bring it back", async () => {
    await virsh(["managedsave", domain], suite);
    const exited = await untilExited();
    expect(exited).toMatchObject({ exitCode: 137, message: expect.stringContaining("saved to a file") });
    await virsh(["start", domain], suite);
    await follows("a word of the start", async () => /by hand/.test(await conditionOf(pod)) || undefined);
    expect(await pod.status(suite)).toEqual(exited);
    await pod.remove(suite);
    expect(await qemuPids(pod.containerId)).toEqual([]);
  });

  test("virsh undefine ends nothing; virsh destroy after it ends the container, and nothing is left", {
    timeout: TEST_LIMIT_MS,
  }, async () => {
    await removePods(node.layout, suite); // of tests that failed
    pod = await VmPod.start(node, { name: "undefined" }, suite);
    domain = await pod.domain(suite);
    await virsh(["undefine", domain], suite);
    expect(await pod.status(suite)).toMatchObject({ state: ContainerState.CONTAINER_RUNNING });
    await virsh(["destroy", domain], suite);
    expect(await untilExited()).toMatchObject({ exitCode: 137 });
    await pod.remove(suite);
    expect(await node.leftovers(suite)).toEqual([]);
  });

  test("all that was told within a second, but for what a busy machine held up", () => {
    const late = followedMs.filter((tookMs) => tookMs > FOLLOWS.usuallyMs);
    expect(late.length, String(followedMs)).toBeLessThan(followedMs.length / 2);
  });
});

test("records that are lost for a while: the VM goes on and is reported; with the records it is taken up again", {
  timeout: TEST_LIMIT_MS,
}, async () => {
  const pod = await VmPod.start(node, { name: "forgotten" }, suite);
  const facts = { status: await pod.status(suite), ip: await pod.ip(suite), qemu: await qemuPid(pod.containerId) };
  const domain = await pod.domain(suite);
  const podsPath = join(node.layout.stateFolderPath, "pods");
  await node.kill(suite);
  await rename(podsPath, `${podsPath}-lost`);
  await node.start(suite);
  expect(await podsOf(node)).toEqual([]);
  expect(await qemuPid(pod.containerId)).toBe(facts.qemu);
  const log = await readFile(node.layout.daemonLogPath, "utf8");
  const word = log.split("\n").find((line) => line.includes("no record") && line.includes(domain));
  expect(word).toContain('"level":"warn"');

  await node.kill(suite);
  await rm(podsPath, { recursive: true });
  await rename(`${podsPath}-lost`, podsPath);
  await node.start(suite);
  const again = { status: await pod.status(suite), ip: await pod.ip(suite), qemu: await qemuPid(pod.containerId) };
  expect(again).toEqual(facts);
  await pod.remove(suite);
});

test("a record that cannot be read is a pod that is not ready and says why, and goes with all it holds", {
  timeout: TEST_LIMIT_MS,
}, async () => {
  await removePods(node.layout, suite); // of tests that failed
  const [broken, beside] = [
    await VmPod.start(node, { name: "broken" }, suite),
    await VmPod.run(node, { name: "beside" }, suite),
  ];
  await node.kill(suite);
  await writeFile(join(node.layout.stateFolderPath, "pods", broken.podId, "pod.json"), '{"v": 1, "half');
  await node.start(suite);
  const states = new Map((await podsOf(node)).map(({ id, state }) => [id, state]));
  expect(states.get(broken.podId)).toBe(PodSandboxState.SANDBOX_NOTREADY);
  expect(states.get(beside.podId)).toBe(PodSandboxState.SANDBOX_READY);
  expect(await qemuPids(broken.containerId)).toHaveLength(1);
  await broken.remove(suite);
  await beside.remove(suite);
  expect(await node.leftovers(suite)).toEqual([]);
});

describe("a reboot of the node", () => {
  let running: VmPod;
  let created: VmPod;
  let next: VmPod;

  test("every pod is told as not ready, every container that ran as exited, and no address is kept", {
    timeout: TEST_LIMIT_MS,
  }, async () => {
    await removePods(node.layout, suite); // of tests that failed
    running = await VmPod.start(node, { name: "before" }, suite);
    created = await VmPod.create(node, { name: "unstarted" }, suite);
    await node.kill(suite);
    await reboot([running, created]);
    await node.start(suite);
    for (const { state } of await podsOf(node)) expect(state).toBe(PodSandboxState.SANDBOX_NOTREADY);
    expect((await running.status(suite)).state).toBe(ContainerState.CONTAINER_EXITED);
    expect((await readdir(node.layout.ipamFolderPath)).filter((name) => /^[0-9.]+$/.test(name))).toEqual([]);
  });

  test("the kubelet's sequence brings them back, and the old ones go without a trace", {
    timeout: TEST_LIMIT_MS,
  }, async () => {
    for (const old of [running, created]) await node.cri.runtime.stopPodSandbox({ podSandboxId: old.podId }, suite);
    next = await VmPod.start(node, { name: "before", pod: { ...running.podConfig, metadata: nextOf(running) } }, suite);
    expect(await httpGet(`http://${await next.ip(suite)}/`, suite)).toContain("before");
    const other = { name: "unstarted", pod: { ...created.podConfig, metadata: nextOf(created) } };
    const second = await VmPod.create(node, other, suite);
    for (const pod of [running, created]) await pod.remove(suite);
    expect((await podsOf(node)).map(({ id }) => id).toSorted()).toEqual([next.podId, second.podId].toSorted());
    for (const pod of [next, second]) await pod.remove(suite);
    expect(await node.leftovers(suite)).toEqual([]);
  });
});

test("a domain, a network namespace and files of others were not touched by any of it", async () => {
  expect(await foreigners.look(suite)).toEqual(foreigners.before);
});

/** What the reboot of a node leaves: definitions, and what is on disk. */
async function reboot(pods: readonly VmPod[]): Promise<void> {
  const { runFolderPath, bridgeName } = node.layout;
  for (const { containerId, podId } of pods) {
    for (const pid of await qemuPids(containerId)) process.kill(pid, "SIGKILL");
    await output(["/usr/sbin/ip", "netns", "delete", `vmlet-${podId.slice(0, 12)}`], suite);
    const isOff = async (): Promise<true | undefined> =>
      !(await virsh(["list", "--name"], suite)).includes(containerId.slice(0, 12)) || undefined;
    await poll(isOff, { what: "libvirt's word of the end", limitMs: BOOT_LIMIT_MS }, suite); // as one that starts has
  }
  for (const pid of await dhcpServers(runFolderPath)) process.kill(pid, "SIGKILL");
  await output(["/usr/sbin/ip", "link", "delete", bridgeName], suite);
  const kept = new Set(["config.yaml", "crictl.yaml", "net.d", "ipam", "daemon.log", "daemon.pid"]);
  for (const name of await readdir(runFolderPath))
    if (!kept.has(name)) await rm(join(runFolderPath, name), { recursive: true });
}

async function dhcpServers(runFolderPath: string): Promise<number[]> {
  const pids = (await readdir("/proc")).filter((name) => /^\d+$/.test(name));
  const lines = await Promise.all(pids.map((pid) => readFile(`/proc/${pid}/cmdline`, "utf8").catch(() => "")));
  return pids
    .filter((_, at) => /dnsmasq/.test(lines[at] ?? "") && lines[at]?.includes(`${runFolderPath}/`))
    .map(Number);
}

const nextOf = ({ podConfig: { metadata } }: VmPod) => ({ ...metadata, attempt: (metadata?.attempt ?? 0) + 1 });

async function podsOf({ cri }: TestNode) {
  return (await cri.runtime.listPodSandbox({ filter: undefined }, suite)).items;
}

async function conditionOf({ containerId }: VmPod): Promise<string> {
  const { info } = await node.cri.runtime.containerStatus({ containerId, verbose: true }, suite);
  return (JSON.parse(info["info"] ?? "{}") as { condition?: string }).condition ?? "";
}
