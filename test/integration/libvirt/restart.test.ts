import { afterAll, beforeAll, beforeEach, expect, test } from "vitest";
import { CLIENT_DEFAULTS, LibvirtClient } from "../../../src/libvirt/client/client.ts";
import { procedures } from "../../../src/libvirt/client/messages.ts";
import type { MachineId } from "../../../src/model/ids.ts";
import type { MachineSignal } from "../../../src/ports/hypervisor.ts";
import { poll } from "../../node/poll.ts";
import { type LibvirtBench, openLibvirtBench } from "./libvirt-bench.ts";

const limit = (): AbortSignal => AbortSignal.timeout(60_000);

let bench: LibvirtBench;
let machineId: MachineId;
const heard: MachineSignal[] = [];

beforeAll(async () => {
  bench = await openLibvirtBench();
  bench.hypervisor.listen((signal) => heard.push(signal));
});
afterAll(async () => bench[Symbol.asyncDispose]());

beforeEach(async () => {
  await bench.libvirtd.startDaemon(); // runs already, unless a test failed half-way
  const plan = await bench.newPlan();
  machineId = plan.machineId;
  await bench.hypervisor.define(plan, limit());
  await bench.hypervisor.startPaused(machineId, limit());
  await bench.hypervisor.resume(machineId, limit());
  heard.length = 0;
});

test.each(["SIGTERM", "SIGKILL"] as const)(
  "a machine runs on through a libvirtd that ends by %s, calls wait for the next one, events arrive again",
  async (signalName) => {
    const { hypervisor, libvirtd } = bench;
    const before = await hypervisor.look(machineId, limit());
    await libvirtd.stopDaemon(signalName);
    const looking = hypervisor.look(machineId, limit()); // while there is none
    await libvirtd.startDaemon();
    const after = await looking;
    expect(after).toEqual(before);
    expect(after?.pid).toBeGreaterThan(1);
    await expect.poll(() => heard, { timeout: 30_000 }).toContainEqual({ type: "reconnected" });
    await expect
      .poll(async () => await libvirtd.virsh("suspend", before?.domainName ?? ""), { timeout: 30_000 })
      .toContain("suspended");
    await expect.poll(() => heard, { timeout: 30_000 }).toContainEqual({ type: "paused", machineId });
    await hypervisor.destroy(machineId, limit());
    await expect
      .poll(() => heard, { timeout: 30_000 })
      .toContainEqual({ type: "stopped", machineId, how: "destroyed" });
  },
);

test("without a libvirtd a call says so within its wait, and works again once there is one", async () => {
  const { hypervisor, libvirtd } = bench;
  await libvirtd.stopDaemon();
  await expect(hypervisor.list(limit())).rejects.toMatchObject({ failure: { code: "HYPERVISOR_GONE" } });
  await expect(hypervisor.destroy(machineId, limit())).rejects.toMatchObject({ failure: { code: "HYPERVISOR_GONE" } });
  await libvirtd.startDaemon();
  expect((await hypervisor.list(limit())).map((seen) => seen.machineId)).toContain(machineId);
});

test("a libvirtd that hangs is given up by keepalive, and its successor is found", async () => {
  const { libvirtd, options } = bench;
  const keepalive = { intervalMs: 200, missesAllowed: 2 };
  using client = new LibvirtClient({ ...CLIENT_DEFAULTS, socketPath: options.socketPath, keepalive });
  // A busy machine may keep a healthy libvirtd from answering for as long.
  const answers = async (): Promise<true> => {
    await client.call(procedures.getLibVersion, {}, {}, limit());
    return true;
  };
  await poll(answers, { what: "an answer", limitMs: 60_000 }, limit());
  const [domain] = (await client.call(procedures.listAllDomains, { needResults: 1, flags: 0 }, {}, limit())).domains;
  if (domain === undefined) throw new Error("there is no domain");
  process.kill(libvirtd.daemonPid, "SIGSTOP");
  try {
    const suspending = client.call(procedures.suspend, { domain }, { domain }, limit());
    await expect(suspending).rejects.toMatchObject({ fault: { kind: "gone" } });
  } finally {
    process.kill(libvirtd.daemonPid, "SIGCONT");
  }
  await poll(answers, { what: "an answer of the one that goes on", limitMs: 60_000 }, limit());
});
