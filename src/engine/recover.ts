// After a restart of the daemon or of libvirtd. Assumptions: (1) records say what was intended and what was done, with
// at most one step missing; (2) libvirt and the kernel say what is; (3) meanwhile guests may have ended, a person may
// have used virsh, and the node may have been rebooted, which leaves records and domains but no netns and no QEMU.

import { backoff, sleepMs } from "../lib/backoff.ts";
import { untilAborted } from "../lib/keyed-lock.ts";
import { Turns } from "../lib/turns.ts";
import type { PodId } from "../model/ids.ts";
import type { MachineRecord, PodRecord } from "../ports/pod-store.ts";
import { tellPaused, tellStranger } from "./condition.ts";
import { settleUnlessOn } from "./end-machine.ts";
import type { Parts } from "./parts.ts";
import { removeHeldMachine } from "./remove-machine.ts";
import { abandonPod } from "./run-pod.ts";
import { connect, resumeStart } from "./start-machine.ts";
import { stopAgain } from "./stop-pod.ts";

/** Between two tries; nothing else would look at such a pod again before libvirtd comes back the next time. */
const AGAIN = { firstMs: 1_000, maxMs: 60_000 };
/** Of one pod most is waiting for `ip` and `tc`; a node has hundreds, and the kubelet waits for all of them. */
const PODS_AT_ONCE = 8;
/** Plugins that hang, because what they ask comes up after us, hold no start up: they are waited for behind it. */
const FINISH_LIMIT_MS = 5_000;

/**
 * Makes records, libvirt and the kernel agree. One pod's trouble is logged and costs only that pod.
 * @param only What an earlier try left; absent: all pods.
 * @returns The pods that do not agree yet.
 */
export async function reconcile(
  parts: Parts,
  signal: AbortSignal,
  only?: readonly PodRecord[],
): Promise<readonly PodRecord[]> {
  if (!only) await reportStrangers(parts, signal);
  const wanted = only ?? parts.pods.pods();
  const turns = new Turns(PODS_AT_ONCE);
  const agree = async (pod: PodRecord): Promise<void> => {
    const work = async (): Promise<void> => {
      using _turn = await turns.take(signal); // not before the lock: who holds that may take minutes
      await reconcilePod(parts, pod, signal);
    };
    await parts.locks.run(pod.facts.podId, work, signal);
  };
  const disagreeing = await failedOf(wanted, agree, parts, signal);
  const late = AbortSignal.any([signal, AbortSignal.timeout(FINISH_LIMIT_MS)]);
  const finish = async ({ facts: { podId } }: PodRecord): Promise<void> => {
    if (!isUnfinished(parts, podId)) return;
    using _turn = await turns.take(late); // a pod that waits for its turn can be stopped by whoever comes
    await untilAborted(
      parts.locks.run(podId, async () => await finishPod(parts, podId), late),
      late,
    );
  };
  const unfinished = await failedOf(wanted, finish, parts, signal, late);
  if (late.aborted) parts.log.warn("networks are still being taken down", { pods: unfinished.length });
  return [...new Set([...disagreeing, ...unfinished])];
}

async function failedOf(
  pods: readonly PodRecord[],
  work: (pod: PodRecord) => Promise<void>,
  { log }: Parts,
  signal: AbortSignal,
  late?: AbortSignal,
): Promise<readonly PodRecord[]> {
  const failed: PodRecord[] = [];
  const attempt = async (pod: PodRecord): Promise<void> => {
    try {
      await work(pod);
    } catch (error) {
      if (signal.aborted) return;
      if (error !== late?.reason)
        log.error("pod could not be reconciled; trying again", { pod: pod.facts.podId, error });
      failed.push(pod);
    }
  };
  await Promise.all(pods.map(attempt));
  signal.throwIfAborted();
  return failed;
}

/** As reconcile, again and again until all pods agree or the signal ends it. */
export async function reconcileUntilDone(parts: Parts, signal: AbortSignal): Promise<void> {
  let left: readonly PodRecord[] | undefined;
  for (const pauseMs of backoff(AGAIN)) {
    try {
      left = await reconcile(parts, signal, left);
      if (left.length === 0) return;
    } catch (error) {
      signal.throwIfAborted();
      parts.log.warn("recovery waits for libvirtd", { error });
    }
    await sleepMs(pauseMs, signal);
  }
}

async function reconcilePod(parts: Parts, { facts: { podId } }: PodRecord, signal: AbortSignal): Promise<void> {
  const pod = parts.pods.findPod(podId);
  if (!pod || pod.state.at === "intended") return;
  if (pod.state.at === "ready" && !(await parts.netns.exists(podId))) {
    parts.log.warn("pod lost its network namespace (was the node rebooted?)", { pod: podId });
    await parts.pods.movePod(podId, { type: "netns-lost" });
  }
  for (const machine of parts.pods.machinesOf(podId)) await reconcileMachine(parts, machine, signal);
  for (const machine of parts.pods.machinesOf(podId)) {
    const { at } = machine.state;
    if (at === "created" || at === "exited") await tellStranger(parts, machine, signal);
  }
}

/**
 * A pod that was never ready, a stop that was cut off, a pod that could not be undone, and what CNI gave before a reboot of
 * the node. Guests that still run are the kubelet's to stop, with the grace that it gives them.
 */
function isUnfinished({ pods }: Parts, podId: PodId): boolean {
  const at = pods.findPod(podId)?.state.at;
  if (at !== "stopping" || pods.findBroken(podId)) return at === "intended";
  return pods.machinesOf(podId).every(({ state }) => state.at === "created" || state.at === "exited");
}

/** The caller holds the pod's lock, so that nobody is running or stopping it now. */
async function finishPod(parts: Parts, podId: PodId): Promise<void> {
  if (!isUnfinished(parts, podId)) return;
  const pod = parts.pods.pod(podId);
  if (pod.state.at !== "intended") return await stopAgain(parts, pod);
  await abandonPod(parts, pod, "the daemon ended before the pod was ready"); // nobody was told its id
}

async function reconcileMachine(parts: Parts, machine: MachineRecord, signal: AbortSignal): Promise<void> {
  const { machineId, podId } = machine.facts;
  switch (machine.state.at) {
    case "intended":
      return await removeHeldMachine(parts, machineId); // nobody was told its id
    case "starting":
      return await resumeStart(parts, machineId, signal);
    case "running":
    case "stopping": {
      const pod = parts.pods.pod(podId);
      const sighting = await settleUnlessOn(parts, machineId, signal);
      if (!sighting) return;
      tellPaused(parts, machineId, sighting);
      if (pod.state.at === "ready") await connect(parts, pod, machine, signal);
      return;
    }
    case "created":
    case "exited":
      return;
  }
}

/** Domains that carry our metadata but have no record (a lost state folder) are reported, never touched. */
async function reportStrangers({ hypervisor, pods, log }: Parts, signal: AbortSignal): Promise<void> {
  for (const { machineId, domainName } of await hypervisor.list(signal)) {
    if (!pods.findMachine(machineId)) log.warn("domain of ours has no record; left alone", { domain: domainName });
  }
}
