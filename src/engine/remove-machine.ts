// RemoveContainer: domain, disk, seed, console file and record are gone. Running: powered off first.

import { undoSignal } from "../lib/undo.ts";
import type { MachineId } from "../model/ids.ts";
import { endMachine } from "./end-machine.ts";
import { type Parts, UNDO_LIMIT_MS } from "./parts.ts";

/** Unknown: no change. Abort ends the waiting for the pod's lock, not the work. */
export async function removeMachine(parts: Parts, machineId: MachineId, signal: AbortSignal): Promise<void> {
  const found = parts.pods.findMachine(machineId);
  if (!found) return;
  await parts.locks.run(found.facts.podId, async () => await removeHeldMachine(parts, machineId), signal);
}

/** As removeMachine, for a caller that holds the pod's lock. What fails leaves the record for the next try. */
export async function removeHeldMachine(parts: Parts, machineId: MachineId): Promise<void> {
  const found = parts.pods.findMachine(machineId);
  if (!found) return;
  // One that is only intended has no end: told as exited it would stand in the way of the same call again.
  if (found.state.at !== "intended") await endMachine(parts, machineId);
  await clearMachine(parts, machineId);
  await parts.pods.dropMachine(machineId);
}

/** What the machine has outside its own folder. The caller holds the pod's lock. */
export async function clearMachine({ hypervisor, images }: Parts, machineId: MachineId): Promise<void> {
  await hypervisor.destroy(machineId, undoSignal(UNDO_LIMIT_MS)); // someone may have started it by hand since
  await hypervisor.undefine(machineId, undoSignal(UNDO_LIMIT_MS));
  await images.release(machineId, undoSignal(UNDO_LIMIT_MS));
}
