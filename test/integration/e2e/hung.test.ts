// libvirtd hangs, and then QEMUs do: whoever lists notices nothing, neither by the time it takes nor by what is told.

import { join } from "node:path";
import { setTimeout as after } from "node:timers/promises";
import { afterAll, beforeAll, expect, test } from "vitest";
import { ContainerState } from "../../../src/gen/runtime.ts";
import { output } from "../../node/command.ts";
import { startTestNode, type TestNode } from "../../node/test-node.ts";
import { PrivateLibvirtd } from "../libvirt/private-libvirtd.ts";
import { qemuPid } from "./qemu-process.ts";
import { VmPod } from "./vm-pod.ts";

const isFull = process.env["FULL"] === "1";
const HUNG_MS = isFull ? 120_000 : 6_000;
const EVERY_MS = isFull ? 1_000 : 50;
const PODS = 7;
/** Below that the machine's other work is what is measured; a list that waits for what hangs takes seconds. */
const FLOOR_MS = isFull ? 10 : 125;
/** What hangs holds up the lists of every look; a busy machine those of one or two. */
const LOOKS = isFull ? 1 : 4;
const TEST_LIMIT_MS = (LOOKS + 2) * HUNG_MS + 120_000;
const suite = AbortSignal.timeout(3 * TEST_LIMIT_MS);

let libvirtd: PrivateLibvirtd;
let node: TestNode;
let pods: VmPod[] = [];
beforeAll(async () => {
  libvirtd = await PrivateLibvirtd.start();
  node = await startTestNode({ config: { libvirt: { socketPath: libvirtd.socketPath } } }, suite);
  const path = join(node.layout.imageFolderPath, "blank.qcow2"); // its guests find nothing to boot, and idle
  await output(["/usr/bin/qemu-img", "create", "-q", "-f", "qcow2", path, "4M"], suite);
  const image = node.images.nameOf("blank.qcow2");
  for (let at = 0; at < PODS; at++) pods = [...pods, await VmPod.start(node, { name: `hung-${at}`, image }, suite)];
}, TEST_LIMIT_MS);
afterAll(async () => {
  await node?.[Symbol.asyncDispose]();
  await libvirtd?.[Symbol.asyncDispose]();
}, TEST_LIMIT_MS);

test("libvirtd hangs: lists are as fast and say the same, and afterwards all goes on", {
  timeout: TEST_LIMIT_MS,
}, async () => {
  await expectNothingNoticed(() => [libvirtd.daemonPid]);
  const [first] = pods;
  await first?.stop(0, suite);
  expect(await first?.status(suite)).toMatchObject({ exitCode: 137 });
});

test("six QEMUs hang: lists are as fast and say the same, and every one can be ended", {
  timeout: TEST_LIMIT_MS,
}, async () => {
  const running = pods.slice(1);
  const pids = await Promise.all(running.map(async ({ containerId }) => await qemuPid(containerId)));
  await expectNothingNoticed(() => pids);
  for (const pid of pids.slice(0, 1)) process.kill(pid, "SIGSTOP"); // also one that answers nobody
  for (const pod of pods) await pod.remove(suite);
  expect(await node.leftovers(suite)).toEqual([]);
});

async function expectNothingNoticed(pidsOf: () => readonly number[]): Promise<void> {
  const before = await look();
  const pids = pidsOf();
  for (const pid of pids) process.kill(pid, "SIGSTOP");
  try {
    const limitMs = 2 * Math.max(FLOOR_MS, before.p99Ms);
    let meanwhile = await look();
    for (let looks = 1; looks < LOOKS && meanwhile.p99Ms >= limitMs; looks++) meanwhile = await look();
    expect(meanwhile.told).toEqual(before.told);
    expect(meanwhile.p99Ms, `p99 before: ${before.p99Ms} ms`).toBeLessThan(limitMs);
    process.stdout.write(
      `lists: p99 ${before.p99Ms} ms before, ${meanwhile.p99Ms} ms in ${HUNG_MS / 1000} s of hanging\n`,
    );
  } finally {
    for (const pid of pids) process.kill(pid, "SIGCONT");
  }
}

/** What the lists took, and every different thing that they told. */
async function look(): Promise<{ readonly p99Ms: number; readonly told: unknown }> {
  const { runtime } = node.cri;
  const took: number[] = [];
  const told = new Set<string>();
  const endMs = performance.now() + HUNG_MS;
  while (performance.now() < endMs) {
    const startedMs = performance.now();
    const { items } = await runtime.listPodSandbox({ filter: undefined }, suite);
    const { containers } = await runtime.listContainers({ filter: undefined }, suite);
    const { stats } = await runtime.listContainerStats({ filter: undefined }, suite);
    await runtime.listPodSandboxStats({ filter: undefined }, suite);
    took.push(performance.now() - startedMs);
    const running = containers.filter(({ state }) => state === ContainerState.CONTAINER_RUNNING);
    told.add(JSON.stringify([items.map(({ id, state }) => [id, state]), running.map(({ id }) => id), stats.length]));
    await after(EVERY_MS, undefined, { signal: suite });
  }
  took.sort((a, b) => a - b);
  return { p99Ms: Math.round((took[Math.floor(took.length * 0.99)] ?? 0) * 10) / 10, told: [...told] };
}
