// Wiring in memory: remembers what is joined to what.

import type { PodId } from "../../src/model/ids.ts";
import type { WireRequest, Wiring } from "../../src/ports/wiring.ts";

export class FakeWiring implements Wiring {
  /** What is wired now, as it was asked for last. */
  readonly wired = new Map<PodId, WireRequest>();
  /** The error that the named call throws, until it is deleted. */
  readonly failing = new Map<"wire" | "unwire", Error>();

  async wire(request: WireRequest, signal: AbortSignal): Promise<void> {
    signal.throwIfAborted();
    this.#failIfTold("wire");
    this.wired.set(request.podId, request);
  }

  async unwire({ podId }: Pick<WireRequest, "podId" | "netnsPath">, signal: AbortSignal): Promise<void> {
    signal.throwIfAborted();
    this.#failIfTold("unwire");
    this.wired.delete(podId);
  }

  #failIfTold(call: "wire" | "unwire"): void {
    const error = this.failing.get(call);
    if (error !== undefined) throw error;
  }
}
