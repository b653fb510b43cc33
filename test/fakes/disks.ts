// Disks that are only remembered.

import type { Disks, OverlayRequest } from "../../src/ports/disks.ts";

export class FakeDisks implements Disks {
  /** By path. */
  readonly overlays = new Map<string, OverlayRequest>();
  /** Thrown by the next calls while set. */
  failure: Error | undefined;

  async createOverlay(request: OverlayRequest, signal: AbortSignal): Promise<void> {
    signal.throwIfAborted();
    if (this.failure !== undefined) throw this.failure;
    this.overlays.set(request.path, request);
  }
}
