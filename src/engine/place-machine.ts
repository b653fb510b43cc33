// A machine that the hypervisor could not make in its pod's cgroup is moved there.

import { cgroupPathToMoveInto, cpuPlanOf } from "../model/sizing.ts";
import type { MachineRecord, PodRecord } from "../ports/pod-store.ts";
import type { Parts } from "./parts.ts";
import { resourcesInForce } from "./update-machine.ts";

/**
 * Before its guest runs: what memory it has by then stays counted elsewhere. There already: no change. One that stays
 * outside is told in the log, and runs as well.
 */
export async function placeMachine(
  { hypervisor, machineCgroups, log }: Parts,
  pod: PodRecord,
  machine: MachineRecord,
  signal: AbortSignal,
): Promise<void> {
  const cgroupPath = cgroupPathToMoveInto(pod.facts.spec.cgroupParent);
  if (cgroupPath === undefined) return;
  const { machineId } = machine.facts;
  const pid = await hypervisor.pidOf(machine.facts);
  if (pid === undefined) {
    log.warn("QEMU's process is not to be found: it stays outside of its pod's cgroup", { machine: machineId });
    return;
  }
  const { count: _, ...cpu } = cpuPlanOf({ resources: resourcesInForce(machine) });
  await machineCgroups.place({ machineId, pid, cgroupPath, cpu }, signal);
}
