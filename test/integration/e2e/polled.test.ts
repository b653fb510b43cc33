// A kubelet that asks and asks: the daemon's memory and descriptors stay what they were. FULL=1 takes the ten minutes that
// the questions are of; else they come one after the other.

import { readdir } from "node:fs/promises";
import { join } from "node:path";
import { afterAll, beforeAll, expect, test, vi } from "vitest";
import { collectGarbage, INSPECTABLE } from "../../node/collect-garbage.ts";
import { output } from "../../node/command.ts";
import { pollAsKubelet } from "../../node/kubelet-polling.ts";
import { scrape } from "../../node/metrics.ts";
import { removePods } from "../../node/teardown.ts";
import { startTestNode, type TestNode } from "../../node/test-node.ts";
import { streamingPid } from "./streaming-pid.ts";
import { VmPod } from "./vm-pod.ts";

const isFull = process.env["FULL"] === "1";
const SECONDS = 600;
const PODS = isFull ? 30 : 2;
const PACE = isFull ? {} : ({ isHurried: true } as const);
/** What is not yet as it will be: compiled code, buffers, connections. */
const WARM_UP_SECONDS = 120;
const STAGES = 3;
const MIB = 1 << 20;
const LIMIT_MS = isFull ? 20 * 60_000 : 240_000;
const suite = AbortSignal.timeout(3 * LIMIT_MS);

let node: TestNode;
beforeAll(async () => {
  vi.stubEnv("NODE_OPTIONS", INSPECTABLE.NODE_OPTIONS);
  node = await startTestNode({}, suite).finally(() => vi.unstubAllEnvs());
  const path = join(node.layout.imageFolderPath, "blank.qcow2"); // its guests find nothing to boot, and idle
  await output(["/usr/bin/qemu-img", "create", "-q", "-f", "qcow2", path, "4M"], suite);
  const image = node.images.nameOf("blank.qcow2");
  for (let at = 0; at < PODS; at++) await VmPod.start(node, { name: `polled-${at}`, image }, suite);
}, LIMIT_MS);
afterAll(async () => {
  if (node !== undefined) await removePods(node.layout, AbortSignal.timeout(LIMIT_MS)); // thirty take a busy machine minutes
  await node?.[Symbol.asyncDispose]();
}, LIMIT_MS);

interface Look {
  /** In use: garbage was collected. */
  readonly heapMiB: number;
  readonly residentMiB: number;
  /** Of the streaming process, too. */
  readonly descriptors: number;
}

async function look(): Promise<Look> {
  const pid = await node.daemonPid();
  await collectGarbage(pid, node.layout.daemonLogPath, suite);
  const metrics = await scrape(node, suite);
  const mib = (name: string): number => Math.round(((metrics.get(name) ?? Number.NaN) / MIB) * 10) / 10;
  const pids = [pid, await streamingPid(node)];
  const open = await Promise.all(pids.map(async (each) => (await readdir(`/proc/${each}/fd`)).length));
  return {
    heapMiB: mib("process_heap_bytes"),
    residentMiB: mib("process_resident_memory_bytes"),
    descriptors: open.reduce((sum, count) => sum + count, 0),
  };
}

test("ten minutes of a kubelet's questions cost no memory and no descriptor", { timeout: LIMIT_MS }, async () => {
  await pollAsKubelet(node.cri, { seconds: WARM_UP_SECONDS, isHurried: true }, suite);
  const looks = [await look()];
  for (let stage = 0; stage < STAGES; stage += 1) {
    await pollAsKubelet(node.cri, { seconds: SECONDS / STAGES, ...PACE }, suite);
    looks.push(await look());
  }
  process.stdout.write(`polled: ${PODS} pods: ${looks.map((each) => JSON.stringify(each)).join(" ")}\n`);
  const [first, last] = [looks[0], looks.at(-1)] as [Look, Look];
  expect(last.heapMiB).toBeLessThan(first.heapMiB + 2);
  expect(last.residentMiB).toBeLessThan(first.residentMiB + 16);
  expect(last.descriptors).toBeLessThanOrEqual(first.descriptors);
});
