// The node's disk is full, and a guest writes on: its VM is paused and told as such, and goes on when there is room.

import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import { ContainerState } from "../../../src/gen/runtime.ts";
import { output } from "../../node/command.ts";
import { poll } from "../../node/poll.ts";
import { startTestNode, type TestNode } from "../../node/test-node.ts";
import { BOOT_LIMIT_MS, VmPod, virsh } from "./vm-pod.ts";

const TEST_LIMIT_MS = 2 * BOOT_LIMIT_MS;
const suite = AbortSignal.timeout(2 * TEST_LIMIT_MS);
/** Writes more than there is room for, on a part of its disk that nobody reads: it lives in memory. */
const GREEDY =
  "dd if=/dev/urandom of=/dev/vda bs=1M count=20 seek=8 && sync && echo written; while :; do sleep 1; done";

let node: TestNode;
let pod: VmPod;
let machinesPath = "";

beforeAll(async () => {
  node = await startTestNode({}, suite);
  pod = await VmPod.run(node, { name: "greedy", container: { command: ["sh", "-c", GREEDY] } }, suite);
  machinesPath = join(node.layout.stateFolderPath, "pods", pod.podId, "machines");
  await output(["/usr/bin/mount", "-t", "tmpfs", "-o", "size=8m,mode=711", "small", machinesPath], suite);
  await pod.createContainer(pod.containerConfig, suite);
  await pod.start(suite);
}, BOOT_LIMIT_MS);
afterAll(async () => {
  await output(["/usr/bin/umount", "--lazy", machinesPath], suite);
  await node[Symbol.asyncDispose]();
}, BOOT_LIMIT_MS);

const untilMessage = async (pattern: RegExp) =>
  await poll(
    async () => {
      const status = await pod.status(suite);
      return pattern.test(status.message) ? status : undefined;
    },
    { what: `a message like ${pattern}`, limitMs: BOOT_LIMIT_MS },
    suite,
  );

test("it is paused and not exited, also for the next daemon; with room it writes all", {
  timeout: TEST_LIMIT_MS,
}, async () => {
  const paused = await untilMessage(/its disk could not be written/);
  expect(paused.state).toBe(ContainerState.CONTAINER_RUNNING);
  await node.kill(suite);
  await node.start(suite);
  expect(await pod.status(suite)).toEqual(paused);
  await output(["/usr/bin/mount", "-o", "remount,size=64m", machinesPath], suite);
  await virsh(["resume", await pod.domain(suite)], suite);
  await untilMessage(/^$/);
  await pod.says("written", suite);
});

test("with no room for its record, either, it stops and is told as exited", { timeout: BOOT_LIMIT_MS }, async () => {
  await expect(writeFile(join(machinesPath, "filling"), Buffer.alloc(64 << 20))).rejects.toThrow("ENOSPC");
  await pod.stop(0, suite);
  expect(await pod.status(suite)).toMatchObject({ state: ContainerState.CONTAINER_EXITED, exitCode: 137 });
});
