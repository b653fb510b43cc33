// UpdateContainerResources: what can be changed while a VM runs, changed at once; the rest refused, and said why.

import { isDeepStrictEqual } from "node:util";
import { VmletError } from "../model/failure.ts";
import type { MachineId } from "../model/ids.ts";
import { changed, type Resources } from "../model/resources.ts";
import { sizeMachine } from "../model/sizing.ts";
import type { MachineRecord, PodRecord } from "../ports/pod-store.ts";
import type { Parts } from "./parts.ts";

/** What holds by now. */
export const resourcesInForce = ({ facts, resources }: MachineRecord): Resources => resources ?? facts.spec.resources;

/**
 * What `change` does not name stays. Abort leaves either the old or the new in force; the same call again makes it the
 * new.
 * @throws MACHINE_NOT_FOUND; WRONG_STATE for an exited machine, and for what only the next start can change.
 */
export async function updateMachine(
  parts: Parts,
  machineId: MachineId,
  change: Resources,
  signal: AbortSignal,
): Promise<void> {
  const { pods, locks, hypervisor, options } = parts;
  const { podId } = pods.machine(machineId).facts;
  await locks.run(
    podId,
    async () => {
      const machine = pods.machine(machineId);
      if (machine.state.at === "exited") throw refused(machine, "it has exited");
      const before = resourcesInForce(machine);
      const wanted = changed(before, change);
      if (isDeepStrictEqual(wanted, before)) return;
      refuseWhatNeedsAStart(parts, pods.pod(podId), machine, wanted);
      const { cpu } = sizeMachine({ resources: wanted, overhead: pods.pod(podId).facts.spec.overhead }, options);
      await hypervisor.tune(machineId, cpu, signal);
      await pods.setResources(machineId, wanted);
    },
    signal,
  );
}

function refuseWhatNeedsAStart({ options }: Parts, pod: PodRecord, machine: MachineRecord, wanted: Resources): void {
  const before = resourcesInForce(machine);
  const { overhead } = pod.facts.spec;
  if (wanted.memoryLimitBytes !== before.memoryLimitBytes)
    throw refused(machine, "the memory of a VM is what it was when the VM was made");
  if (wanted.cpusetCpus !== before.cpusetCpus || wanted.cpusetMems !== before.cpusetMems)
    throw refused(machine, "the CPUs and memory nodes that a VM may use are what they were when it was made");
  const has = sizeMachine({ resources: machine.facts.spec.resources, overhead }, options).cpu.count;
  const needs = sizeMachine({ resources: wanted, overhead }, options).cpu.count;
  if (needs > has) throw refused(machine, `it has ${has} vCPUs, and the new limit is of use to ${needs} only`);
}

function refused({ facts, state }: MachineRecord, why: string): VmletError {
  return new VmletError(
    { code: "WRONG_STATE", subject: "container", state: state.at },
    `container ${facts.machineId}: ${why}; delete the pod, and it starts with what is asked for`,
  );
}
