import { readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import { openHypervisor } from "../../../src/libvirt/adapter.ts";
import { CLIENT_DEFAULTS, LibvirtClient } from "../../../src/libvirt/client/client.ts";
import { procedures } from "../../../src/libvirt/client/messages.ts";
import { uuidOf } from "../../../src/model/ids.ts";
import type { MachinePlan } from "../../../src/model/machine-plan.ts";
import type { MachineSignal } from "../../../src/ports/hypervisor.ts";
import type { Logger } from "../../../src/ports/logger.ts";
import { type LibvirtBench, openLibvirtBench } from "./libvirt-bench.ts";
import { smallDomainXml } from "./private-libvirtd.ts";

const limit = (): AbortSignal => AbortSignal.timeout(60_000);
const silent: Logger = { error() {}, warn() {}, info() {}, debug() {}, child: () => silent };

let bench: LibvirtBench;
beforeAll(async () => {
  bench = await openLibvirtBench();
});
afterAll(async () => bench[Symbol.asyncDispose]());

async function started(): Promise<MachinePlan> {
  const plan = await bench.newPlan();
  await bench.hypervisor.define(plan, limit());
  await bench.hypervisor.startPaused(plan.machineId, limit());
  return plan;
}

test("a daemon that starts later finds the machines of the one before it, and hears of them", async () => {
  const { machineId, podId, domainName } = await started();
  await bench.hypervisor.resume(machineId, limit());
  using later = await openHypervisor(bench.options, { log: silent }, limit());
  const heard: MachineSignal[] = [];
  later.listen((signal) => heard.push(signal));
  await later.probe(limit()); // connected, and listening
  await bench.pauseByHand(machineId);
  await expect.poll(() => heard, { timeout: 30_000 }).toContainEqual({ type: "paused", machineId });
  expect(await later.list(limit())).toContainEqual(expect.objectContaining({ machineId, podId, domainName }));
  await later.destroy(machineId, limit());
  await expect.poll(() => heard, { timeout: 30_000 }).toContainEqual({ type: "stopped", machineId, how: "destroyed" });
});

test("a domain of somebody else's with a machine's uuid is left alone", async () => {
  const plan = await bench.newPlan();
  const xmlPath = join(bench.libvirtd.folderPath, "squatter.xml");
  await writeFile(xmlPath, smallDomainXml("squatter", { uuid: uuidOf(plan.machineId) }));
  await bench.libvirtd.virsh("define", xmlPath);
  const { hypervisor } = bench;
  for (const call of [
    () => hypervisor.define(plan, limit()),
    () => hypervisor.startPaused(plan.machineId, limit()),
    () => hypervisor.destroy(plan.machineId, limit()),
    () => hypervisor.undefine(plan.machineId, limit()),
  ]) {
    await expect(call()).rejects.toMatchObject({ failure: { code: "NAME_TAKEN", holder: "squatter" } });
  }
  expect(await bench.libvirtd.virsh("domstate", "squatter")).toContain("shut off");
});

test("a machine is forgotten with the snapshots and the saved state that a person made of it", async () => {
  const { machineId, domainName } = await started();
  const { hypervisor, libvirtd } = bench;
  expect(await libvirtd.virsh("managedsave", domainName)).toContain("saved");
  expect(
    await libvirtd.virsh("snapshot-create-as", domainName, "s", "--disk-only", "--diskspec", "vdb,snapshot=no"),
  ).not.toContain("error:");
  await hypervisor.undefine(machineId, limit());
  expect(await hypervisor.look(machineId, limit())).toBeUndefined();
});

test("a machine that a person renamed is the same machine, and its process is found", async () => {
  const plan = await bench.newPlan();
  const { machineId, domainName } = plan;
  const { hypervisor, libvirtd } = bench;
  await hypervisor.define(plan, limit());
  await libvirtd.virsh("domrename", domainName, `${domainName}-renamed`);
  await hypervisor.startPaused(machineId, limit());
  const sighting = await hypervisor.look(machineId, limit());
  expect(sighting).toMatchObject({ domainName: `${domainName}-renamed`, condition: { is: "on" } });
  expect(await hypervisor.pidOf({ machineId, domainName })).toBe(sighting?.pid);
  expect(sighting?.pid).toBeGreaterThan(1);
});

test("a guest without an agent cannot be asked by it, and libvirt says so at once", async () => {
  const { machineId } = await started();
  await bench.hypervisor.resume(machineId, limit());
  await expect(bench.hypervisor.askToPowerOff(machineId, "agent", limit())).rejects.toMatchObject({
    failure: { code: "HYPERVISOR_FAILED", libvirtCode: 86 },
  });
});

test("a QEMU that is killed is a crash", async () => {
  const { machineId } = await started();
  const pid = (await bench.hypervisor.look(machineId, limit()))?.pid;
  if (pid === undefined) throw new Error("libvirt tells no pid");
  process.kill(pid, "SIGKILL");
  await expect
    .poll(async () => (await bench.hypervisor.look(machineId, limit()))?.condition, { timeout: 30_000 })
    .toEqual({ is: "off", ended: "crashed" });
  expect(await bench.hypervisor.look(machineId, limit())).toMatchObject({ lastPid: pid });
});

test("what libvirt does not take of a template names the file", async () => {
  const templateFolderPath = bench.libvirtd.folderPath;
  const plan = { ...(await bench.newPlan()), template: "odd" };
  const xml = await readFile(join(bench.options.templateFolderPath, "linux.xml"), "utf8");
  await writeFile(join(templateFolderPath, "odd.xml"), xml.replace('machine="q35"', 'machine="no-such-machine"'));
  using hypervisor = await openHypervisor({ ...bench.options, templateFolderPath }, { log: silent }, limit());
  await expect(hypervisor.define(plan, limit())).rejects.toMatchObject({
    failure: { code: "TEMPLATE_INVALID", path: join(templateFolderPath, "odd.xml") },
  });
});

test("the console is a stream that a person can type into", async () => {
  const { machineId, domainName } = await started();
  await bench.hypervisor.resume(machineId, limit());
  using client = new LibvirtClient({ ...CLIENT_DEFAULTS, socketPath: bench.options.socketPath });
  const { domain } = await client.call(procedures.lookupByName, { name: domainName }, {}, limit());
  const args = { domain, device: "ua-vmlet-hvc", flags: 0 };
  const stream = await client.openStream(procedures.openConsole, args, { domain }, limit());
  await new Promise((resolve) => stream.write("hello\n", resolve));
  const closed = new Promise((resolve) => stream.once("close", resolve));
  await bench.hypervisor.destroy(machineId, limit());
  stream.resume();
  await closed; // with its machine
});
