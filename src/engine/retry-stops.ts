// What a Stop could not give back (a CNI DEL that fails, a libvirtd that is away) is tried again until it succeeds, also
// when nobody calls any more.

import { backoff, sleepMs } from "../lib/backoff.ts";
import type { PodId } from "../model/ids.ts";
import type { PodRecord } from "../ports/pod-store.ts";
import type { Parts } from "./parts.ts";
import { stopAgain } from "./stop-pod.ts";

const AGAIN = { firstMs: 1_000, maxMs: 60_000 };

/** Until disposed; disposing waits for a try that is under way. */
export function retryStops(parts: Parts): AsyncDisposable {
  const { pods, log } = parts;
  const stopped = new AbortController();
  const underWay = new Map<PodId, Promise<void>>();
  const consider = (podId: PodId): void => {
    if (underWay.has(podId) || !failedToStop(pods.findPod(podId))) return;
    const work = retry(parts, podId, stopped.signal)
      .catch((error: unknown) => {
        if (!stopped.signal.aborted) log.error("retrying a stop ended", { pod: podId, error });
      })
      .finally(() => underWay.delete(podId));
    underWay.set(podId, work);
  };
  const listening = pods.listen(({ podId }) => consider(podId));
  return {
    async [Symbol.asyncDispose]() {
      listening[Symbol.dispose]();
      stopped.abort();
      await Promise.all(underWay.values());
    },
  };
}

async function retry(parts: Parts, podId: PodId, signal: AbortSignal): Promise<void> {
  const { pods, locks, log } = parts;
  const once = async (): Promise<void> => {
    const pod = pods.findPod(podId);
    if (pod && failedToStop(pod)) await stopAgain(parts, pod);
  };
  for (const pauseMs of backoff(AGAIN)) {
    await sleepMs(pauseMs, signal);
    try {
      await locks.run(podId, once, signal);
    } catch (error) {
      signal.throwIfAborted();
      log.warn("pod could not be stopped; trying again", { pod: podId, error });
    }
    if (!failedToStop(pods.findPod(podId))) return;
  }
}

const failedToStop = (pod: PodRecord | undefined): boolean =>
  pod?.state.at === "stopping" && pod.state.error !== undefined;
