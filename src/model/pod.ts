// A pod: what the kubelet calls a sandbox. Facts never change after run; state does.

import type { Attachment } from "./attachment.ts";
import { VmletError } from "./failure.ts";
import type { PodId } from "./ids.ts";
import type { Resources } from "./resources.ts";

export interface PortMapping {
  readonly protocol: "tcp" | "udp" | "sctp";
  readonly containerPort: number;
  readonly hostPort: number;
  readonly hostIp: string;
}

export interface DnsConfig {
  readonly servers: readonly string[];
  readonly searches: readonly string[];
  readonly options: readonly string[];
}

/** What was asked for, as the rest of the program understands it. Labels and annotations are verbatim. */
export interface PodSpec {
  readonly name: string;
  readonly namespace: string;
  readonly uid: string;
  readonly attempt: number;
  readonly hostname: string;
  /** Absolute, or empty when the caller keeps no logs. */
  readonly logFolderPath: string;
  readonly dns: DnsConfig;
  readonly portMappings: readonly PortMapping[];
  readonly labels: Readonly<Record<string, string>>;
  readonly annotations: Readonly<Record<string, string>>;
  readonly runtimeHandler: string;
  /** Echoed: a VM has its own processes either way, but the kubelet re-creates a pod whose answer differs. */
  readonly pidMode: "pod" | "container";
  /** Of the guest's kernel, as paths below /proc/sys: `net/ipv4/ip_forward`. */
  readonly sysctls: Readonly<Record<string, string>>;
  /** Path below the cgroup root as the caller spelled it; empty: libvirt's default. */
  readonly cgroupParent: string;
  /** RuntimeClass overhead: memory that the node set aside for everything that is not the guest. */
  readonly overhead: Resources;
}

/** Written once, before the first side effect. */
export interface PodFacts {
  readonly podId: PodId;
  readonly spec: PodSpec;
  readonly createdAtMs: number;
  /** `/run/netns/vmlet-<first 12 of the id>` */
  readonly netnsPath: string;
}

/**
 *   intended ──ready──> ready ──stop-asked──> stopping ──stopped──> stopped
 *      └────────────────stop-asked──────────────┘
 *
 * `stopping` is what forbids creating a machine in a pod that is going down. A pod that failed to start and could not
 * be undone stays `stopping`, with its error, until the next Stop succeeds.
 */
export type PodState =
  | { readonly at: "intended" }
  | { readonly at: "ready"; readonly attachment: Attachment }
  | { readonly at: "stopping"; readonly attachment?: Attachment; readonly error?: string }
  | { readonly at: "stopped"; readonly stoppedAtMs: number };

export type PodEvent =
  | { readonly type: "ready"; readonly attachment: Attachment }
  | { readonly type: "stop-asked" }
  | { readonly type: "stop-failed"; readonly error: string }
  | { readonly type: "netns-lost" }
  | { readonly type: "stopped"; readonly nowMs: number };

/** The next state; throws WRONG_STATE for what cannot happen. Idempotent events return the state they got. */
export function nextPodState(state: PodState, event: PodEvent): PodState {
  switch (event.type) {
    case "ready":
      if (state.at !== "intended") throw forbids(event, state);
      return { at: "ready", attachment: event.attachment };
    case "stop-asked":
    case "netns-lost": // after a node reboot: what CNI gave must still be given back
      if (state.at === "stopped" || state.at === "stopping") return state;
      return state.at === "ready" ? { at: "stopping", attachment: state.attachment } : { at: "stopping" };
    case "stop-failed":
      if (state.at !== "stopping") throw forbids(event, state);
      return { ...state, error: event.error };
    case "stopped":
      if (state.at === "stopped") return state;
      if (state.at !== "stopping") throw forbids(event, state);
      return { at: "stopped", stoppedAtMs: event.nowMs };
  }
}

function forbids(event: PodEvent, state: PodState): VmletError {
  return new VmletError(
    { code: "WRONG_STATE", subject: "pod", state: state.at },
    `pod is ${state.at}: ${event.type} is not possible`,
  );
}
