// A network in memory: gives addresses out, takes them back, and can be told to fail.

import type { Attachment } from "../../src/model/attachment.ts";
import { VmletError } from "../../src/model/failure.ts";
import type { PodId } from "../../src/model/ids.ts";
import type { Network, NetworkRequest } from "../../src/ports/network.ts";

export class FakeNetwork implements Network {
  /** What is attached now. */
  readonly attached = new Map<PodId, Attachment>();
  /** The error that the named call throws, until it is deleted; `attach` then leaves nothing attached. */
  readonly failing = new Map<"attach" | "detach" | "check", Error>();
  /** Set: `status` says not ready and why, and `attach` throws NETWORK_NOT_CONFIGURED. */
  missing: string | undefined;
  readonly calls: string[] = [];

  async attach({ podId }: NetworkRequest, signal: AbortSignal): Promise<Attachment> {
    signal.throwIfAborted();
    this.calls.push(`attach ${podId}`);
    this.#failIfTold("attach");
    const earlier = this.attached.get(podId);
    if (earlier !== undefined) return earlier;
    if (this.missing !== undefined) {
      throw new VmletError({ code: "NETWORK_NOT_CONFIGURED", folderPath: "/fake" }, this.missing);
    }
    const attachment = this.#firstFree();
    this.attached.set(podId, attachment);
    return attachment;
  }

  async detach({ podId }: NetworkRequest, signal: AbortSignal): Promise<void> {
    signal.throwIfAborted();
    this.calls.push(`detach ${podId}`);
    this.#failIfTold("detach");
    this.attached.delete(podId);
  }

  async check({ podId }: NetworkRequest, signal: AbortSignal): Promise<void> {
    signal.throwIfAborted();
    this.#failIfTold("check");
    if (this.attached.has(podId)) return;
    throw new VmletError({ code: "NETWORK_FAILED", plugin: "fake", cniCode: 0 }, `pod ${podId} is not attached`);
  }

  async status(): ReturnType<Network["status"]> {
    return this.missing === undefined ? { isReady: true, network: "fake" } : { isReady: false, why: this.missing };
  }

  /** So that an address that was not given back is missed by the next pod. */
  #firstFree(): Attachment {
    const taken = new Set([...this.attached.values()].map(({ mac }) => mac));
    for (let count = 2; ; count++) {
      const attachment = attachmentOf(count);
      if (!taken.has(attachment.mac)) return attachment;
    }
  }

  #failIfTold(call: "attach" | "detach" | "check"): void {
    const error = this.failing.get(call);
    if (error !== undefined) throw error;
  }
}

function attachmentOf(count: number): Attachment {
  const [high, low] = [Math.floor(count / 256), count % 256];
  const hex = (byte: number): string => byte.toString(16).padStart(2, "0");
  return {
    network: "fake",
    interfaceName: "eth0",
    mac: `02:00:0a:63:${hex(high)}:${hex(low)}`,
    mtu: 1500,
    addresses: [{ address: `10.99.${high}.${low}`, prefixLength: 16, gateway: "10.99.0.1", family: 4 }],
    routes: [{ destination: "0.0.0.0/0", gateway: "10.99.0.1" }],
  };
}
