// What the hypervisor adapter is told; the settings of the same names are described in config.

import type { KvmPaths } from "./virtualization.ts";

export interface LibvirtOptions {
  /** libvirtd's or virtqemud's read-write socket. */
  readonly socketPath: string;
  readonly virtualization: "auto" | "kvm" | "emulated";
  readonly templateFolderPath: string;
  readonly tcgCacheMiB: number;
  /** Milliseconds that one call may take, by kind; starting a machine has START_LIMIT_MS if that is more. */
  readonly limitMs: { readonly read: number; readonly lifecycle: number; readonly slow: number };
  /** Absent: the node's own. */
  readonly kvm?: KvmPaths;
  /** Where libvirt keeps QEMU's pid files; absent: beside the socket, in `qemu`. */
  readonly runFolderPath?: string;
  /** Milliseconds that calls wait through a restart of libvirtd. */
  readonly reconnectWaitMs?: number;
}

/** Many at once, on a cold cache, under emulation; still below the kubelet's own limit of 2 minutes. */
export const START_LIMIT_MS = 100_000;
