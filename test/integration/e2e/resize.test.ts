// Resizing in place, as the kubelet does it, seen from libvirt.

import { afterAll, beforeAll, expect, test } from "vitest";
import { LinuxContainerResources } from "../../../src/gen/runtime.ts";
import { startTestNode, type TestNode } from "../../node/test-node.ts";
import { VmPod, virsh } from "./vm-pod.ts";

const suite = AbortSignal.timeout(240_000);
let node: TestNode;
beforeAll(async () => void (node = await startTestNode({}, suite)));
afterAll(async () => await node[Symbol.asyncDispose]());

test("a VM gets other CPU limits before its start and while it runs, and its status tells them", async () => {
  const pod = await VmPod.create(node, { name: "resized" }, suite);
  const update = async (linux: Partial<LinuxContainerResources>) => {
    const resources = LinuxContainerResources.fromPartial(linux);
    const request = { containerId: pod.containerId, linux: resources, windows: undefined, annotations: {} };
    await node.cri.runtime.updateContainerResources(request, suite);
  };
  const schedinfo = async (which: "--live" | "--config") => {
    const text = await virsh(["schedinfo", await pod.domain(suite), which], suite);
    return Object.fromEntries([...text.matchAll(/^(\w+)\s*: (-?\w+)$/gm)].map(([, name, value]) => [name, value]));
  };

  await update({ cpuShares: 300n, cpuPeriod: 100_000n, cpuQuota: 50_000n });
  expect(await schedinfo("--config")).toMatchObject({ cpu_shares: "300", global_quota: "50000" });
  await pod.start(suite);
  expect(await schedinfo("--live")).toMatchObject({ cpu_shares: "300", global_quota: "50000" });
  await update({ cpuShares: 700n });
  expect(await schedinfo("--live")).toMatchObject({
    cpu_shares: "700",
    global_period: "100000",
    global_quota: "50000",
  });
  await update({ cpuQuota: -1n });
  expect(Number((await schedinfo("--live"))["global_quota"])).toBeLessThan(0);
  expect((await pod.status(suite)).resources?.linux).toMatchObject({ cpuShares: 700n, cpuQuota: -1n });

  await expect(update({ memoryLimitInBytes: 1n << 30n })).rejects.toMatchObject({
    code: 9,
    details: expect.stringContaining("memory of a VM"),
  });
  await node.cri.runtime.updatePodSandboxResources(
    { podSandboxId: pod.podId, overhead: undefined, resources: undefined },
    suite,
  );
  await pod.remove(suite);
});
