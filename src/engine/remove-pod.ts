// RemovePodSandbox: nothing of the pod is left, whatever state it was in.

import { undoSignal } from "../lib/undo.ts";
import type { PodId } from "../model/ids.ts";
import { type Parts, UNDO_LIMIT_MS } from "./parts.ts";
import { removeHeldMachine } from "./remove-machine.ts";
import { stopHeldPod } from "./stop-pod.ts";
import { sweepUnreadable } from "./sweep-unreadable.ts";

/** Unknown: no change. */
export async function removePod(parts: Parts, podId: PodId, signal: AbortSignal): Promise<void> {
  const { pods, locks } = parts;
  await locks.run(
    podId,
    async () => {
      if (!pods.findPod(podId) && !pods.findBroken(podId)) return;
      if (!pods.findPod(podId)) await takeDownUnreadable(parts, podId);
      await stopHeldPod(parts, podId);
      for (const machine of pods.machinesOf(podId)) await removeHeldMachine(parts, machine.facts.machineId);
      await pods.dropPod(podId);
    },
    signal,
  );
}

/** A pod whose record cannot be read: what its id alone leads to is still taken down. */
async function takeDownUnreadable(parts: Parts, podId: PodId): Promise<void> {
  await sweepUnreadable(parts, podId);
  const { network, netns } = parts;
  const nobody = { name: "", namespace: "", uid: "" };
  const dns = { servers: [], searches: [], options: [] };
  const request = { podId, netnsPath: netns.pathOf(podId), pod: nobody, portMappings: [], dns };
  await network.detach(request, undoSignal(UNDO_LIMIT_MS));
  await netns.remove(podId, undoSignal(UNDO_LIMIT_MS));
}
