import type { DiskFormat } from "../model/image.ts";

export interface OverlayRequest {
  readonly path: string;
  readonly base: { readonly path: string; readonly format: DiskFormat; readonly virtualSizeBytes: number };
  /** Never smaller than the base's. */
  readonly virtualSizeBytes: number;
}

/** The writable disks of machines. Implemented by `src/images/overlay.ts` with qemu-img. */
export interface Disks {
  /** A half-made file at `path` is replaced. @throws DISK_FULL TOOL_FAILED */
  createOverlay(request: OverlayRequest, signal: AbortSignal): Promise<void>;
}
