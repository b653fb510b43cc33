import type { Attachment } from "../model/attachment.ts";
import type { PodId } from "../model/ids.ts";
import type { DnsConfig, PortMapping } from "../model/pod.ts";

/** What a plugin may need to know of a pod: `K8S_POD_*` arguments and capabilities. */
export interface NetworkRequest {
  readonly podId: PodId;
  readonly netnsPath: string;
  readonly pod: { readonly name: string; readonly namespace: string; readonly uid: string };
  readonly portMappings: readonly PortMapping[];
  readonly dns: DnsConfig;
}

/**
 * Pod networking. Implemented by `src/cni/`; faked in `test/fakes/network.ts`; both MUST pass
 * `test/contract/network.contract.ts`.
 */
export interface Network {
  /**
   * Attach a pod. Calling again for the same `podId` returns the first result and changes nothing.
   * @param signal Aborting leaves no half-made attachment: it is either attached or detached.
   * @throws NETWORK_FAILED when a plugin fails, hangs past its limit or prints garbage; NETWORK_NOT_CONFIGURED.
   * @see CNI SPEC 1.1.0, section 3 "Adding an attachment"
   */
  attach(request: NetworkRequest, signal: AbortSignal): Promise<Attachment>;
  /**
   * Give back what attach took, with the configuration that attach used (cached on disk), even if the netns is gone.
   * Not attached: no change.
   */
  detach(request: NetworkRequest, signal: AbortSignal): Promise<void>;
  /** CNI CHECK. @throws NETWORK_FAILED when the attachment is not what it was. */
  check(request: NetworkRequest, signal: AbortSignal): Promise<void>;
  /** Whether a usable configuration exists; looks at the folder each time, cheaply. */
  status(): Promise<
    { readonly isReady: true; readonly network: string } | { readonly isReady: false; readonly why: string }
  >;
}
