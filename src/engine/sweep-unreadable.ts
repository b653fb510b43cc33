// Domains of a pod whose records cannot be read, known by their metadata alone, and its DHCP server: ended all the same.

import { undoSignal } from "../lib/undo.ts";
import type { PodId } from "../model/ids.ts";
import { type Parts, UNDO_LIMIT_MS } from "./parts.ts";

/** The caller holds the pod's lock. */
export async function sweepUnreadable(parts: Parts, podId: PodId): Promise<void> {
  const { hypervisor, images, machineCgroups, netns, pods, wiring } = parts;
  for (const { podId: ownerId, machineId } of await hypervisor.list(undoSignal(UNDO_LIMIT_MS))) {
    if (ownerId !== podId || pods.findMachine(machineId)) continue;
    await hypervisor.destroy(machineId, undoSignal(UNDO_LIMIT_MS));
    await machineCgroups.leave(machineId, undoSignal(UNDO_LIMIT_MS));
    await hypervisor.undefine(machineId, undoSignal(UNDO_LIMIT_MS));
    await images.release(machineId, undoSignal(UNDO_LIMIT_MS));
  }
  await wiring.unwire({ podId, netnsPath: netns.pathOf(podId) }, undoSignal(UNDO_LIMIT_MS));
}
