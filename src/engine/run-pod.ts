// RunPodSandbox: a network namespace with an address in it. No domain yet: the image may not even be here.

import { isDeepStrictEqual } from "node:util";
import { undoSignal } from "../lib/undo.ts";
import { VmletError } from "../model/failure.ts";
import { newPodId, type PodId } from "../model/ids.ts";
import type { PodSpec } from "../model/pod.ts";
import type { NetworkRequest } from "../ports/network.ts";
import type { PodRecord } from "../ports/pod-store.ts";
import { type Parts, UNDO_LIMIT_MS } from "./parts.ts";
import { podNameOf } from "./pods.ts";

/**
 * Abort undoes what was done. A second call for the same name and attempt waits for the first and gets its pod; it also
 * takes back what the first could not.
 * @throws NAME_TAKEN when a pod of that name lives with another spec; what Network and Netns throw.
 */
export async function runPod(parts: Parts, spec: PodSpec, signal: AbortSignal): Promise<PodId> {
  return await parts.locks.run(
    podNameOf(spec),
    async () => {
      const existing = parts.pods.findPodByName(spec);
      if (existing && !wasNeverReady(existing)) return join(existing, spec);
      if (existing) await abandonAgain(parts, existing, signal);
      const podId = newPodId();
      // A recovery that comes upon it must not take it for one that was given up.
      await parts.locks.run(podId, async () => await makePod(parts, podId, spec, signal), signal);
      return podId;
    },
    signal,
  );
}

function join({ facts, state }: PodRecord, spec: PodSpec): PodId {
  if (state.at === "ready" && isDeepStrictEqual(facts.spec, spec)) return facts.podId;
  const why = state.at === "ready" ? "ready and was run with another configuration" : state.at;
  throw new VmletError(
    { code: "NAME_TAKEN", name: podNameOf(spec), holder: facts.podId },
    `pod ${podNameOf(spec)} exists as pod sandbox ${facts.podId}, which is ${why}; stop and remove that one first`,
  );
}

/** The caller holds the pod's lock. */
async function makePod(parts: Parts, podId: PodId, spec: PodSpec, signal: AbortSignal): Promise<void> {
  const { pods, netns, network, clock } = parts;
  const facts = { podId, spec, createdAtMs: clock.nowMs(), netnsPath: netns.pathOf(podId) };
  const record: PodRecord = { facts, state: { at: "intended" } };
  try {
    await addPod(parts, record);
    await netns.create(podId, signal);
    const attachment = await network.attach(networkRequestOf(record), signal);
    await pods.movePod(podId, { type: "ready", attachment });
  } catch (error) {
    if (pods.findPod(podId)) await abandonPod(parts, record, error);
    throw error;
  }
}

/** A save that failed may have reached the disk all the same: nothing was done yet that it would have to remember. */
async function addPod({ pods, log }: Parts, record: PodRecord): Promise<void> {
  const { podId } = record.facts;
  try {
    await pods.addPod(record);
  } catch (error) {
    await pods.dropPod(podId).catch((again: unknown) => log.warn("record is left", { pod: podId, error: again }));
    throw error;
  }
}

/** Nobody was told its id. Who holds the lock of its name knows that nobody is at it: it could not be undone. */
export function wasNeverReady({ state }: PodRecord): boolean {
  return state.at === "intended" || (state.at === "stopping" && state.attachment === undefined);
}

async function abandonAgain(parts: Parts, record: PodRecord, signal: AbortSignal): Promise<void> {
  const { podId } = record.facts;
  const abandon = async (): Promise<void> => {
    if (parts.pods.findPod(podId)) await abandonPod(parts, record, "an earlier call could not be undone");
  };
  await parts.locks.run(podId, abandon, signal);
}

/** Undoes a pod that did not come up. When that fails too, the pod stays listed for the next Stop. */
export async function abandonPod(parts: Parts, record: PodRecord, reason: unknown): Promise<void> {
  const { pods, log, observer } = parts;
  const { podId } = record.facts;
  try {
    await pods.movePod(podId, { type: "stop-asked" });
    await takeDownNetwork(parts, record);
    await pods.dropPod(podId);
  } catch (undoError) {
    log.error("pod could not be undone", { pod: podId, error: undoError });
    observer.undoFailed("run-pod");
    if (pods.findPod(podId)?.state.at === "stopping")
      await pods.movePod(podId, { type: "stop-failed", error: String(undoError) });
    throw new SuppressedError(undoError, reason, "pod could not be undone");
  }
}

/** Gives back what the network gave. Idempotent; runs on its own time. */
export async function takeDownNetwork(parts: Parts, record: PodRecord): Promise<void> {
  await parts.network.detach(networkRequestOf(record), undoSignal(UNDO_LIMIT_MS));
  await parts.netns.remove(record.facts.podId, undoSignal(UNDO_LIMIT_MS));
}

function networkRequestOf({ facts }: Pick<PodRecord, "facts">): NetworkRequest {
  const { spec } = facts;
  return {
    podId: facts.podId,
    netnsPath: facts.netnsPath,
    pod: { name: spec.name, namespace: spec.namespace, uid: spec.uid },
    portMappings: spec.portMappings,
    dns: spec.dns,
  };
}
