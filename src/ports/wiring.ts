import type { Attachment } from "../model/attachment.ts";
import type { PodId } from "../model/ids.ts";
import type { DnsConfig } from "../model/pod.ts";

export interface WireRequest {
  readonly podId: PodId;
  readonly netnsPath: string;
  readonly tapName: string;
  readonly attachment: Attachment;
  readonly dns: DnsConfig;
  readonly hostname: string;
  /** The pod's cgroup, below the root of each hierarchy: processes that serve the pod belong there. */
  readonly cgroupPath?: string;
}

/**
 * Joins a machine's tap to its pod's interface, and answers DHCP there. Implemented by `src/kernel/`; faked in
 * `test/fakes/wiring.ts`.
 */
export interface Wiring {
  /**
   * Move the tap into the netns, redirect `eth0 <-> tap`, start the DHCP server. Wired already: repairs what is
   * missing and changes nothing else. The tap MUST exist in the host's netns or in the pod's.
   */
  wire(request: WireRequest, signal: AbortSignal): Promise<void>;
  /** Stop the DHCP server and drop the redirect. The tap goes with its domain. Not wired: no change. */
  unwire(request: Pick<WireRequest, "podId" | "netnsPath">, signal: AbortSignal): Promise<void>;
}
