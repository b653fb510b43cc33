// Network namespaces in memory.

import type { PodId } from "../../src/model/ids.ts";
import type { Netns } from "../../src/ports/netns.ts";

export class FakeNetns implements Netns {
  readonly existing = new Set<PodId>();
  /** The error that the named call throws, until it is deleted. */
  readonly failing = new Map<"create" | "remove", Error>();

  pathOf(podId: PodId): string {
    return `/run/netns/vmlet-${podId.slice(0, 12)}`;
  }

  async create(podId: PodId, signal: AbortSignal): Promise<void> {
    signal.throwIfAborted();
    this.#failIfTold("create");
    this.existing.add(podId);
  }

  async remove(podId: PodId, signal: AbortSignal): Promise<void> {
    signal.throwIfAborted();
    this.#failIfTold("remove");
    this.existing.delete(podId);
  }

  async exists(podId: PodId): Promise<boolean> {
    return this.existing.has(podId);
  }

  #failIfTold(call: "create" | "remove"): void {
    const error = this.failing.get(call);
    if (error !== undefined) throw error;
  }
}
