// StopPodSandbox: every machine off, the network given back. Repeated by the kubelet until it succeeds.

import type { PodId } from "../model/ids.ts";
import type { PodRecord } from "../ports/pod-store.ts";
import { endMachine } from "./end-machine.ts";
import type { Parts } from "./parts.ts";
import { abandonPod, takeDownNetwork, wasNeverReady } from "./run-pod.ts";
import { sweepUnreadable } from "./sweep-unreadable.ts";

/** Unknown or stopped: no change. What fails is remembered in the pod's state and tried again by the next call. */
export async function stopPod(parts: Parts, podId: PodId, signal: AbortSignal): Promise<void> {
  await parts.locks.run(podId, async () => await stopHeldPod(parts, podId), signal);
}

/** As stopPod, for a caller that holds the pod's lock. Abort ends the waiting for the lock, not the work. */
export async function stopHeldPod(parts: Parts, podId: PodId): Promise<void> {
  const { pods, clock } = parts;
  if (!pods.findPod(podId)) return;
  const { at } = await pods.movePod(podId, { type: "stop-asked" });
  if (at === "stopped") return;
  try {
    for (const { facts, state } of pods.machinesOf(podId))
      if (state.at !== "intended") await endMachine(parts, facts.machineId);
    if (pods.findBroken(podId)) await sweepUnreadable(parts, podId);
    await takeDownNetwork(parts, pods.pod(podId));
  } catch (error) {
    await pods.movePod(podId, { type: "stop-failed", error: String(error) });
    throw error;
  }
  await pods.movePod(podId, { type: "stopped", nowMs: clock.nowMs() });
}

/** For a pod that is stopping, whoever asked for it. One that was never ready goes altogether. Holds the pod's lock. */
export async function stopAgain(parts: Parts, pod: PodRecord): Promise<void> {
  if (wasNeverReady(pod)) await abandonPod(parts, pod, "an earlier try could not be undone");
  else await stopHeldPod(parts, pod.facts.podId);
}
