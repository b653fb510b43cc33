// What the kubelet is told of a VM's use of its node, against a guest that uses something of everything.

import { afterAll, beforeAll, expect, test } from "vitest";
import type { ContainerStats, PodSandboxStats } from "../../../src/gen/runtime.ts";
import { poll } from "../../node/poll.ts";
import { startTestNode, type TestNode } from "../../node/test-node.ts";
import { qemuPid } from "./qemu-process.ts";
import { BOOT_LIMIT_MS, httpGet, VmPod } from "./vm-pod.ts";

const suite = AbortSignal.timeout(600_000);
const MIB = 1 << 20;
/** Writes what no detection of zeros takes away, says so, and keeps a CPU busy. */
const BUSY = "dd if=/dev/urandom of=/dev/vda bs=1M count=4 seek=8 && sync && echo written; while :; do :; done";

let node: TestNode;
let pod: VmPod;
beforeAll(async () => {
  node = await startTestNode({}, suite);
  pod = await VmPod.start(node, { name: "busy", container: { command: ["sh", "-c", BUSY] } }, suite);
}, BOOT_LIMIT_MS);
afterAll(async () => await node[Symbol.asyncDispose](), BOOT_LIMIT_MS);

const ofContainer = async (): Promise<ContainerStats> => {
  const { stats } = await node.cri.runtime.containerStats({ containerId: pod.containerId }, suite);
  if (stats === undefined) throw new Error("no statistics");
  return stats;
};
const ofPod = async (podSandboxId = pod.podId): Promise<PodSandboxStats> => {
  const { stats } = await node.cri.runtime.podSandboxStats({ podSandboxId }, suite);
  if (stats === undefined) throw new Error("no statistics");
  return stats;
};
const value = (amount: { readonly value: bigint } | undefined): number => Number(amount?.value ?? -1n);

test("CPU, memory and disk are those of the VM, and grow as it works", { timeout: 2 * BOOT_LIMIT_MS }, async () => {
  const before = await ofContainer();
  expect(value(before.cpu?.usageCoreNanoSeconds)).toBeGreaterThanOrEqual(0);
  await pod.says("written", suite);
  const after = await poll(
    async () => {
      const now = await ofContainer();
      return value(now.cpu?.usageNanoCores) > 0 && value(now.writableLayer?.usedBytes) >= 4 * MIB ? now : undefined;
    },
    { what: "a rate, and the bytes on disk", limitMs: 60_000, everyMs: 1_100 },
    suite,
  );
  expect(value(after.cpu?.usageCoreNanoSeconds)).toBeGreaterThan(value(before.cpu?.usageCoreNanoSeconds));
  expect(after.cpu?.timestamp).toBeGreaterThan(before.cpu?.timestamp ?? 0n);
  expect(value(after.memory?.workingSetBytes)).toBeGreaterThan(50 * MIB);
  expect(value(after.memory?.workingSetBytes)).toBeLessThan(2048 * MIB);
  expect(value(after.memory?.usageBytes)).toBeGreaterThanOrEqual(value(after.memory?.workingSetBytes));
  expect(value(after.memory?.pageFaults)).toBeGreaterThan(1000);
  const { containerFilesystems } = await node.cri.image.imageFsInfo({}, suite);
  expect(after.writableLayer?.fsId).toEqual(containerFilesystems[0]?.fsId);
});

test("the pod's network counts what reaches the guest", { timeout: BOOT_LIMIT_MS }, async () => {
  const before = (await ofPod()).linux?.network?.defaultInterface;
  expect(before?.name).toBe("eth0");
  await httpGet(`http://${await pod.ip(suite)}/`, suite);
  const after = (await ofPod()).linux?.network?.defaultInterface;
  expect(value(after?.rxBytes)).toBeGreaterThan(value(before?.rxBytes) + 100);
  expect(value(after?.txBytes)).toBeGreaterThan(value(before?.txBytes) + 100);
});

test("a QEMU that hangs is measured like any other, at once", async () => {
  const pid = await qemuPid(pod.containerId);
  process.kill(pid, "SIGSTOP");
  try {
    const atOnce = async (): Promise<true> => {
      const soon = AbortSignal.timeout(5_000);
      const containers = await node.cri.runtime.listContainerStats({ filter: undefined }, soon);
      expect(containers.stats.map(({ attributes }) => attributes?.id)).toEqual([pod.containerId]);
      const pods = await node.cri.runtime.listPodSandboxStats({ filter: undefined }, soon);
      expect(value(pods.stats[0]?.linux?.process?.processCount)).toBeGreaterThan(1);
      return true;
    };
    // A machine that is busy may hold up one try; what hangs holds up all.
    await poll(atOnce, { what: "statistics at once", limitMs: 15_000 }, suite);
  } finally {
    process.kill(pid, "SIGCONT");
  }
});

test("a pod without a VM has its network's counters, and one whose VM ended is in no list", async () => {
  await pod.stop(0, suite);
  const { stats } = await node.cri.runtime.listContainerStats({ filter: undefined }, suite);
  expect(stats).toEqual([]);
  const { linux } = await ofPod();
  expect(linux).toMatchObject({ cpu: undefined, containers: [] });
  expect(value(linux?.network?.defaultInterface?.rxBytes)).toBeGreaterThan(0);
  expect(await ofContainer()).toMatchObject({ cpu: undefined, attributes: { id: pod.containerId } });
});
