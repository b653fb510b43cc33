// The real adapter on a libvirtd of the test's own, with machines that can be started.

import { mkdir, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { run } from "../../../src/lib/spawn.ts";
import { type LibvirtHypervisor, openHypervisor } from "../../../src/libvirt/adapter.ts";
import { CLIENT_DEFAULTS } from "../../../src/libvirt/client/client.ts";
import type { LibvirtOptions } from "../../../src/libvirt/options.ts";
import type { MachineId } from "../../../src/model/ids.ts";
import { newMachineId, uuidOf } from "../../../src/model/ids.ts";
import type { MachinePlan } from "../../../src/model/machine-plan.ts";
import type { Logger } from "../../../src/ports/logger.ts";
import type { HypervisorBench } from "../../contract/hypervisor.contract.ts";
import { aMachinePlan } from "../../fakes/machine-plan.ts";
import { PrivateLibvirtd } from "./private-libvirtd.ts";

const LIMIT_MS = 90_000;

const silent: Logger = { error() {}, warn() {}, info() {}, debug() {}, child: () => silent };

export interface LibvirtBench extends HypervisorBench {
  readonly hypervisor: LibvirtHypervisor;
  readonly libvirtd: PrivateLibvirtd;
  readonly options: LibvirtOptions;
}

export async function openLibvirtBench(overrides: Partial<LibvirtOptions> = {}): Promise<LibvirtBench> {
  const libvirtd = await PrivateLibvirtd.start();
  const options: LibvirtOptions = {
    socketPath: libvirtd.socketPath,
    virtualization: "emulated",
    templateFolderPath: join(import.meta.dirname, "../../../domain-templates"),
    tcgCacheMiB: 32,
    limitMs: { ...CLIENT_DEFAULTS.limitMs, lifecycle: 60_000 },
    runFolderPath: libvirtd.runFolderPath,
    ...overrides,
  };
  const hypervisor = await openHypervisor(options, { log: silent }, AbortSignal.timeout(LIMIT_MS));
  const virshOn = async (verb: string, machineId: MachineId): Promise<void> => {
    const printed = await libvirtd.virsh(verb, uuidOf(machineId));
    if (printed.includes("error:")) throw new Error(printed);
  };
  return {
    hypervisor,
    libvirtd,
    options,
    newPlan: async () => startablePlan(libvirtd.folderPath),
    addForeign: async () => {
      const name = `foreign-${newMachineId().slice(0, 8)}`;
      await libvirtd.addDomain(name);
      return { isRunning: async () => (await libvirtd.virsh("domstate", name)).trim() === "paused" };
    },
    destroyByHand: async (machineId) => virshOn("destroy", machineId),
    pauseByHand: async (machineId) => virshOn("suspend", machineId),
    startByHand: async (machineId) => virshOn("start", machineId),
    [Symbol.asyncDispose]: async () => {
      hypervisor[Symbol.dispose]();
      await libvirtd[Symbol.asyncDispose]();
    },
  };
}

/** An empty disk: the firmware finds nothing to boot and waits. */
async function startablePlan(folderPath: string): Promise<MachinePlan> {
  const machineId = newMachineId();
  const machinePath = join(folderPath, machineId.slice(0, 12));
  await mkdir(machinePath, { mode: 0o777 });
  await run("chmod", ["0777", machinePath], {}, AbortSignal.timeout(LIMIT_MS)); // QEMU makes files there
  const plan = aMachinePlan(machinePath, { machineId });
  const qemuImg = async (...args: readonly string[]): Promise<void> => {
    const { exitCode, stderr } = await run("qemu-img", args, {}, AbortSignal.timeout(LIMIT_MS));
    if (exitCode !== 0) throw new Error(stderr);
  };
  await qemuImg("create", "-q", "-f", "qcow2", plan.disk.base.path, "1M");
  await qemuImg("create", "-q", "-f", "qcow2", "-b", plan.disk.base.path, "-F", "qcow2", plan.disk.overlayPath);
  await writeFile(plan.seedPath, Buffer.alloc(4096));
  return plan;
}
