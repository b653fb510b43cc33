// libvirtd goes away and comes back: no VM notices, calls wait for it, and what happens afterwards or meanwhile is heard.

import { connect } from "node:net";
import { afterAll, beforeAll, beforeEach, expect, test } from "vitest";
import { ContainerState } from "../../../src/gen/runtime.ts";
import { poll } from "../../node/poll.ts";
import { removePods } from "../../node/teardown.ts";
import { startTestNode, type TestNode } from "../../node/test-node.ts";
import { PrivateLibvirtd } from "../libvirt/private-libvirtd.ts";
import { qemuPid } from "./qemu-process.ts";
import { BOOT_LIMIT_MS, httpGet, VmPod } from "./vm-pod.ts";

const TEST_LIMIT_MS = 2 * BOOT_LIMIT_MS;
const suite = AbortSignal.timeout(20 * 60_000);
const GO_PORT = 999;
/** Powers the guest off when somebody connects: libvirt has no part in that. */
const OFF_ON_CONNECT = `#!/bin/sh\n(nc -l -p ${GO_PORT} >/dev/null; poweroff) &\n`;

let libvirtd: PrivateLibvirtd;
let node: TestNode;
let pod: VmPod;

beforeAll(async () => {
  libvirtd = await PrivateLibvirtd.start();
  node = await startTestNode({ config: { libvirt: { socketPath: libvirtd.socketPath } } }, suite);
});
beforeEach(async () => await libvirtd.startDaemon()); // runs already, unless a test failed half-way
afterAll(async () => {
  await libvirtd.startDaemon().catch(() => {});
  await node[Symbol.asyncDispose]();
  await libvirtd[Symbol.asyncDispose]();
});

const startPod = async (name: string): Promise<VmPod> => {
  const started = await VmPod.start(
    node,
    { name, pod: { annotations: { "vmlet.dev/user-data": OFF_ON_CONNECT } } },
    suite,
  );
  expect(await httpGet(`http://${await started.ip(suite)}/`, suite)).toContain(name);
  return started;
};
const isReady = async (): Promise<boolean> => {
  const { status } = await node.cri.runtime.status({ verbose: false }, suite);
  return status?.conditions.find(({ type }) => type === "RuntimeReady")?.status === true;
};

test("restarted: the VM stays what it was, and a call made meanwhile succeeds", {
  timeout: TEST_LIMIT_MS,
}, async () => {
  pod = await startPod("steady");
  const before = { status: await pod.status(suite), qemu: await qemuPid(pod.containerId) };

  await libvirtd.stopDaemon();
  await poll(async () => !(await isReady()) || undefined, { what: "a condition not ready", limitMs: 60_000 }, suite);
  expect(await pod.status(suite)).toEqual(before.status);
  expect(await httpGet(`http://${await pod.ip(suite)}/`, suite)).toContain("steady");
  const other = await VmPod.run(node, { name: "meanwhile" }, suite); // needs no libvirtd
  const creating = other.createContainer(other.containerConfig, suite);
  await libvirtd.startDaemon();
  await creating;
  await other.start(suite);
  await poll(async () => (await isReady()) || undefined, { what: "a ready condition", limitMs: 60_000 }, suite);

  expect(await qemuPid(pod.containerId)).toBe(before.qemu);
  expect(await pod.status(suite)).toEqual(before.status);
  await other.remove(suite);
});

test("a guest that powers off after the restart has exited with 0: events still arrive", {
  timeout: TEST_LIMIT_MS,
}, async () => {
  await powerOff(pod);
  expect(await pod.exited(suite)).toMatchObject({ exitCode: 0, reason: "Completed" });
  await pod.remove(suite);
});

test("a guest that powers off while libvirtd is killed has exited with 0 when it is back", {
  timeout: TEST_LIMIT_MS,
}, async () => {
  await removePods(node.layout, suite); // of tests that failed
  pod = await startPod("unseen");
  const staying = await VmPod.start(node, { name: "staying" }, suite);
  const qemu = await qemuPid(staying.containerId);
  await libvirtd.stopDaemon("SIGKILL");
  await powerOff(pod);
  await pod.says("reboot: Power down", suite);
  expect((await pod.status(suite)).state).toBe(ContainerState.CONTAINER_RUNNING);
  await libvirtd.startDaemon();
  expect(await pod.exited(suite)).toMatchObject({ exitCode: 0, reason: "Completed" });
  expect(await qemuPid(staying.containerId)).toBe(qemu);
  expect((await staying.status(suite)).state).toBe(ContainerState.CONTAINER_RUNNING);
  await staying.stop(0, suite);
  expect(await staying.status(suite)).toMatchObject({ exitCode: 137 });
  await staying.remove(suite);
  await pod.remove(suite);
  expect(await node.leftovers(suite)).toEqual([]);
});

async function powerOff(guest: VmPod): Promise<void> {
  const host = await guest.ip(suite);
  await poll(
    async () => {
      const { promise, resolve, reject } = Promise.withResolvers<true>();
      const socket = connect({ host, port: GO_PORT, timeout: 3_000 });
      socket
        .once("connect", () => resolve(true))
        .once("error", reject)
        .once("timeout", () => reject(new Error("timeout")));
      return await promise.finally(() => socket.destroy());
    },
    { what: "a connection to the guest", limitMs: BOOT_LIMIT_MS },
    suite,
  );
}
