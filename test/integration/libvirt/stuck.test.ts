import { afterAll, beforeAll, expect, test } from "vitest";
import { failsWith } from "../../../src/model/failure.ts";
import type { MachineId } from "../../../src/model/ids.ts";
import { type LibvirtBench, openLibvirtBench } from "./libvirt-bench.ts";

const STUCK = 6; // one more than the calls that libvirtd serves on one connection
const LIFECYCLE_LIMIT_MS = 10_000;
const limit = (): AbortSignal => AbortSignal.timeout(100_000);

let bench: LibvirtBench;
const stopped: { readonly machineId: MachineId; readonly pid: number }[] = [];
let healthy: MachineId;

beforeAll(async () => {
  bench = await openLibvirtBench({ limitMs: { read: 10_000, lifecycle: LIFECYCLE_LIMIT_MS, slow: 10_000 } });
  const { hypervisor } = bench;
  await hypervisor.probe(limit());
  healthy = await runningMachine();
  for (let i = 0; i < STUCK; i++) {
    const machineId = await runningMachine();
    const pid = (await hypervisor.look(machineId, limit()))?.pid;
    if (pid === undefined) throw new Error("libvirt tells no pid");
    process.kill(pid, "SIGSTOP");
    stopped.push({ machineId, pid });
  }
});
afterAll(async () => bench[Symbol.asyncDispose]());

test("six QEMUs that do not answer stop nothing but the calls on themselves", async () => {
  const { hypervisor } = bench;
  const asked = stopped.map(({ machineId }) => outcomeOf(hypervisor.askToPowerOff(machineId, "acpi", limit())));

  // While all six hang: a whole life of another machine, and everything that reads.
  const plan = await bench.newPlan();
  await hypervisor.define(plan, limit());
  await hypervisor.startPaused(plan.machineId, limit());
  await hypervisor.resume(plan.machineId, limit());
  expect((await hypervisor.look(healthy, limit()))?.condition).toEqual({ is: "on" });
  expect(await hypervisor.list(limit())).toHaveLength(STUCK + 2);
  await hypervisor.destroy(plan.machineId, limit());
  await hypervisor.undefine(plan.machineId, limit());
  for (const { machineId } of stopped) expect((await hypervisor.look(machineId, limit()))?.condition.is).toBe("on");

  expect(await Promise.all(asked)).toEqual(stopped.map(() => "HYPERVISOR_STUCK"));
  for (const { machineId } of stopped) {
    expect(await outcomeOf(hypervisor.resume(machineId, limit()))).toBe("HYPERVISOR_STUCK");
  }
  await hypervisor.askToPowerOff(healthy, "acpi", limit());
});

test("a QEMU that goes on answers again", async () => {
  const [first] = stopped;
  if (first === undefined) throw new Error("there is none");
  process.kill(first.pid, "SIGCONT");
  await expect.poll(() => outcomeOf(bench.hypervisor.resume(first.machineId, limit())), { timeout: 30_000 }).toBe("ok");
});

test("a QEMU that answers nothing is powered off all the same", async () => {
  const { hypervisor } = bench;
  const second = stopped[1];
  if (second === undefined) throw new Error("there is none");
  await hypervisor.destroy(second.machineId, limit());
  expect((await hypervisor.look(second.machineId, limit()))?.condition.is).toBe("off");
  await hypervisor.destroy(second.machineId, limit());
});

test("a QEMU that is killed leaves its quarantine, and its machine can be forgotten", async () => {
  const { hypervisor } = bench;
  const last = stopped.at(-1);
  if (last === undefined) throw new Error("there is none");
  process.kill(last.pid, "SIGKILL");
  await expect
    .poll(async () => (await hypervisor.look(last.machineId, limit()))?.condition.is, { timeout: 30_000 })
    .toBe("off");
  await hypervisor.undefine(last.machineId, limit());
  expect(await hypervisor.look(last.machineId, limit())).toBeUndefined();
});

async function runningMachine(): Promise<MachineId> {
  const plan = await bench.newPlan();
  await bench.hypervisor.define(plan, limit());
  await bench.hypervisor.startPaused(plan.machineId, limit());
  await bench.hypervisor.resume(plan.machineId, limit());
  return plan.machineId;
}

async function outcomeOf(work: Promise<unknown>): Promise<string> {
  try {
    await work;
    return "ok";
  } catch (error) {
    if (failsWith(error, "HYPERVISOR_STUCK")) return "HYPERVISOR_STUCK";
    throw error;
  }
}
