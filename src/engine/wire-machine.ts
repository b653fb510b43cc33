// What the wiring needs to know of a pod.

import { cgroupPathOf } from "../model/sizing.ts";
import type { PodRecord } from "../ports/pod-store.ts";
import type { WireRequest } from "../ports/wiring.ts";

/** Undefined while the pod has no network. */
export function wireRequestOf({ facts, state }: PodRecord, tapName: string): WireRequest | undefined {
  if (!("attachment" in state) || !state.attachment) return undefined;
  const { podId, netnsPath, spec } = facts;
  const { dns, hostname, cgroupParent } = spec;
  const cgroupPath = cgroupPathOf(cgroupParent);
  return {
    podId,
    netnsPath,
    tapName,
    attachment: state.attachment,
    dns,
    hostname,
    ...(cgroupPath === undefined ? {} : { cgroupPath }),
  };
}
