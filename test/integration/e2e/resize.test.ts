// Resizing in place, as the kubelet does it, seen from libvirt.

import { readdir, readFile } from "node:fs/promises";
import { afterAll, beforeAll, expect, test } from "vitest";
import { LinuxContainerResources } from "../../../src/gen/runtime.ts";
import { poll } from "../../node/poll.ts";
import { startTestNode, type TestNode } from "../../node/test-node.ts";
import { qemuPid } from "./qemu-process.ts";
import { BOOT_LIMIT_MS, VmPod, virsh } from "./vm-pod.ts";

const suite = AbortSignal.timeout(6 * BOOT_LIMIT_MS);
let node: TestNode;
beforeAll(async () => void (node = await startTestNode({}, suite)));
afterAll(async () => await node[Symbol.asyncDispose]());

async function resize({ containerId }: VmPod, linux: Partial<LinuxContainerResources>): Promise<void> {
  const resources = LinuxContainerResources.fromPartial(linux);
  await node.cri.runtime.updateContainerResources(
    { containerId, linux: resources, windows: undefined, annotations: {} },
    suite,
  );
}

const FAILED_PRECONDITION = 9;
const INVALID_ARGUMENT = 3;
const refusal = (code: number, field: string) => ({ code, details: expect.stringContaining(field) });

test("a VM gets other CPU limits before its start and while it runs, and its status tells them", async () => {
  const pod = await VmPod.create(node, { name: "resized" }, suite);
  const update = async (linux: Partial<LinuxContainerResources>) => await resize(pod, linux);
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

  await expect(update({ cpuQuota: 900_000n })).rejects.toMatchObject(refusal(FAILED_PRECONDITION, "linux.cpu_quota: "));
  await node.cri.runtime.updatePodSandboxResources(
    { podSandboxId: pod.podId, overhead: undefined, resources: undefined },
    suite,
  );
  await pod.remove(suite);
});

test("a running VM gets other CPUs to run on and less memory, at once, and what it cannot have is refused by name", {
  timeout: 2 * BOOT_LIMIT_MS,
}, async () => {
  const pod = await VmPod.start(node, { name: "squeezed" }, suite);
  const update = async (linux: Partial<LinuxContainerResources>) => await resize(pod, linux);
  const pid = await qemuPid(pod.containerId);
  const mayRunOn = async (): Promise<unknown> => {
    const statuses = (await readdir(`/proc/${pid}/task`)).map(async (tid) => {
      const status = await readFile(`/proc/${pid}/task/${tid}/status`, "utf8").catch(() => ""); // a worker that has ended
      const lines = status.match(/^(?:Cpus|Mems)_allowed_list:.*$/gm);
      return lines === null ? [] : [lines.join(" ").replace(/\s+/g, " ")];
    });
    return [...new Set((await Promise.all(statuses)).flat())];
  };
  await update({ cpusetCpus: "1", cpusetMems: "0" });
  expect(await mayRunOn()).toEqual(["Cpus_allowed_list: 1 Mems_allowed_list: 0"]);
  await update({ cpusetCpus: "0-1" });
  // The group narrows every thread at once. Libvirt widens the main thread and those of CPUs: a worker that QEMU made meanwhile
  // keeps the fewer ones until it has been idle for some seconds.
  await poll(
    async () => String(await mayRunOn()) === "Cpus_allowed_list: 0-1 Mems_allowed_list: 0" || undefined,
    { what: "all threads on both CPUs", limitMs: 60_000 },
    suite,
  );
  await expect(update({ cpusetCpus: "900" })).rejects.toMatchObject(refusal(INVALID_ARGUMENT, "linux.cpuset_cpus: "));
  await expect(update({ cpusetMems: "60" })).rejects.toMatchObject(refusal(INVALID_ARGUMENT, "linux.cpuset_mems: "));
  expect((await pod.status(suite)).resources?.linux).toMatchObject({ cpusetCpus: "0-1", cpusetMems: "0" });

  const actual = async (): Promise<string> =>
    (await virsh(["dommemstat", await pod.domain(suite)], suite)).match(/^actual (\d+)$/m)?.[1] ?? "";
  const guestHas = async (): Promise<number> => {
    const cmd = ["cat", "/proc/meminfo"];
    const { stdout } = await node.cri.runtime.execSync({ containerId: pod.containerId, cmd, timeout: 60n }, suite);
    return Number(/^MemTotal: +(\d+) kB/m.exec(Buffer.from(stdout).toString())?.[1]);
  };
  await pod.says("tiny: ready", suite);
  const before = await guestHas();
  await update({ memoryLimitInBytes: 224n << 20n });
  expect(await actual()).toBe(String(128 * 1024));
  expect(await guestHas()).toBe(before - 32 * 1024);
  await expect(update({ memoryLimitInBytes: 1n << 30n })).rejects.toMatchObject(
    refusal(FAILED_PRECONDITION, "linux.memory_limit_in_bytes: "),
  );
  expect((await pod.status(suite)).resources?.linux).toMatchObject({ memoryLimitInBytes: 224n << 20n });
  await update({ memoryLimitInBytes: 256n << 20n });
  expect(await guestHas()).toBe(before);
  await pod.remove(suite);
});
