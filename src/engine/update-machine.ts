// UpdateContainerResources: what can be changed while a VM runs, changed at once; the rest refused, and said why.

import { isDeepStrictEqual } from "node:util";
import { poll } from "../lib/backoff.ts";
import { undoSignal } from "../lib/undo.ts";
import { VmletError } from "../model/failure.ts";
import type { MachineId } from "../model/ids.ts";
import type { CpuPlan } from "../model/machine-plan.ts";
import { changed, type Resources } from "../model/resources.ts";
import { mib, sizeMachine } from "../model/sizing.ts";
import type { MachineSize } from "../ports/hypervisor.ts";
import type { MachineRecord } from "../ports/pod-store.ts";
import { type Parts, UNDO_LIMIT_MS } from "./parts.ts";
import { planMachine } from "./plan-machine.ts";

/** What holds by now. */
export const resourcesInForce = ({ facts, resources }: MachineRecord): Resources => resources ?? facts.spec.resources;

/** Where CRI's UpdateContainerResources says it. */
const FIELD = "linux";
const MEMORY_FIELD = "memory_limit_in_bytes";
const IS_OFF = "its VM is off";
/** Between two looks at how far a guest has come. */
const LOOK = { firstMs: 20, maxMs: 500 };

/**
 * What `change` does not name stays. Abort and failure leave either the old or the new in force, and the machine's record
 * says which; the same call again makes it the new.
 * @throws MACHINE_NOT_FOUND; SPEC_INVALID for what no machine can have; WRONG_STATE for a machine that exited, for what
 *   only the next start can change, and when the guest gives no memory back.
 */
export async function updateMachine(
  parts: Parts,
  machineId: MachineId,
  change: Resources,
  signal: AbortSignal,
): Promise<void> {
  const { pods, locks } = parts;
  const { podId } = pods.machine(machineId).facts;
  await locks.run(
    podId,
    async () => {
      const machine = pods.machine(machineId);
      const { at } = machine.state;
      if (at === "exited") throw refused(machine, "it has exited");
      if (at === "starting") throw refused(machine, "its start could not be undone yet");
      const before = resourcesInForce(machine);
      const wanted = changed(before, change);
      const isNew = !isDeepStrictEqual(wanted, before);
      if (at === "intended" || at === "created") await remake(parts, machine, { wanted, isNew }, signal);
      else if (isNew) await resize(parts, machine, wanted, signal);
    },
    signal,
  );
}

/** Nothing runs yet: it becomes another machine. An earlier call that was cut off may have left it without a definition. */
async function remake(
  parts: Parts,
  machine: MachineRecord,
  { wanted, isNew }: { readonly wanted: Resources; readonly isNew: boolean },
  signal: AbortSignal,
): Promise<void> {
  const { pods, images, hypervisor } = parts;
  const { facts } = machine;
  const { path, image } = await images.hold(facts.imageDigest, facts.machineId, signal);
  const now = { ...facts, spec: { ...facts.spec, resources: wanted } };
  const plan = planMachine(parts, pods.pod(facts.podId), now, { path, format: image.format }, FIELD);
  await using undo = new AsyncDisposableStack();
  if (isNew) {
    const { machineId } = facts;
    // While the record changes there is no definition: a start makes what the record says, whatever is cut off.
    const record = async (resources: Resources, within: AbortSignal): Promise<void> => {
      await hypervisor.undefine(machineId, within);
      await pods.setResources(machineId, resources);
    };
    undo.defer(async () => await record(resourcesInForce(machine), undoSignal(UNDO_LIMIT_MS)));
    await record(wanted, signal);
  }
  await hypervisor.define(plan, signal);
  undo.move();
}

async function resize(parts: Parts, machine: MachineRecord, wanted: Resources, signal: AbortSignal): Promise<void> {
  const { pods, hypervisor, machineCgroups, options } = parts;
  const { machineId, podId } = machine.facts;
  const { overhead } = pods.pod(podId).facts.spec;
  const sizeWith = (resources: Resources) => sizeMachine({ resources, overhead, field: FIELD }, options);
  const { memoryBytes, cpu } = sizeWith(wanted);
  const before = resourcesInForce(machine);
  const has = (await hypervisor.sizes([machineId], signal)).get(machineId);
  if (has === undefined) throw refused(machine, IS_OFF);
  if (cpu.quotaUs !== undefined && cpu.count > has.vcpus)
    throw refused(machine, `it has ${has.vcpus} vCPUs, and the new limit is of use to ${cpu.count} only`, "cpu_quota");
  const tune = async (to: CpuPlan, within: AbortSignal): Promise<void> => {
    const { count: _, ...limits } = to;
    // In a group of ours: the hypervisor's own, which it may have lost from sight, limits nobody.
    const isOurs = await machineCgroups.tune(machineId, limits, within);
    await hypervisor[isOurs ? "pin" : "tune"](machineId, { ...limits, count: has.vcpus }, within);
  };
  await using undo = new AsyncDisposableStack();
  // First what is refused most.
  if (wanted.memoryLimitBytes !== before.memoryLimitBytes && memoryBytes !== has.memoryBytes) {
    refuseGrowth(machine, has, memoryBytes);
    undo.defer(async () => await hypervisor.setMemory(machineId, has.memoryBytes, undoSignal(UNDO_LIMIT_MS)));
    await resizeMemory(parts, machine, memoryBytes, signal);
  }
  undo.defer(async () => await tune(sizeWith(before).cpu, undoSignal(UNDO_LIMIT_MS)));
  await tune(cpu, signal);
  await pods.setResources(machineId, wanted);
  undo.move();
}

function refuseGrowth(machine: MachineRecord, { maxMemoryBytes }: MachineSize, memoryBytes: number): void {
  if (memoryBytes <= maxMemoryBytes) return;
  const why = `its guest would have ${mib(memoryBytes)}, and a VM cannot have more than what it was started with`;
  throw refused(machine, `${why}, ${mib(maxMemoryBytes)}`, MEMORY_FIELD);
}

async function resizeMemory(
  { hypervisor, options }: Parts,
  machine: MachineRecord,
  memoryBytes: number,
  signal: AbortSignal,
): Promise<void> {
  const { machineId } = machine.facts;
  await hypervisor.setMemory(machineId, memoryBytes, signal);
  let reached = 0;
  const isThere = async (): Promise<true | undefined> => {
    const now = (await hypervisor.sizes([machineId], signal)).get(machineId);
    if (now === undefined) throw refused(machine, IS_OFF); // whoever is to tell its end waits for us
    reached = now.memoryBytes;
    return reached === memoryBytes || undefined;
  };
  const limit = AbortSignal.timeout(options.giveBackMs);
  try {
    await poll(isThere, LOOK, AbortSignal.any([signal, limit]));
  } catch (error) {
    if (signal.aborted || !limit.aborted) throw error;
    const now = `after ${options.giveBackMs} ms it has ${mib(reached)}`;
    const why = `its guest was asked to live with ${mib(memoryBytes)}, and ${now}`;
    throw refused(machine, `${why}: it needs the memory, or has no driver for virtio's balloon`, MEMORY_FIELD);
  }
}

function refused({ facts, state }: MachineRecord, why: string, field?: string): VmletError {
  const where = field === undefined ? "" : `${FIELD}.${field}: `;
  return new VmletError(
    { code: "WRONG_STATE", subject: "container", state: state.at },
    `${where}container ${facts.machineId}: ${why}; delete the pod, and it starts with what is asked for`,
  );
}
