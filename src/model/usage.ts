// What machines and pods use of their node, as the node's kernel counts it.

/** How long things stood still for want of a resource: PSI. */
export interface Pressure {
  /** At least one thread waited. */
  readonly some: PressureLine;
  /** All of them did. */
  readonly full: PressureLine;
}

export interface PressureLine {
  readonly totalUs: number;
  /** Per cent of the last 10, 60 and 300 seconds. */
  readonly avg10: number;
  readonly avg60: number;
  readonly avg300: number;
}

/** QEMU with all its threads: the guest, and what it takes to run it. Counters begin at the machine's start. */
export interface MachineUsage {
  readonly atMs: number;
  readonly cpu: { readonly totalNanos: number; readonly pressure?: Pressure };
  readonly memory: {
    /** What the node cannot take back without hurting the machine: usage without the idle part of the file cache. */
    readonly workingSetBytes: number;
    readonly usageBytes: number;
    readonly rssBytes: number;
    readonly swapBytes: number;
    readonly pageFaults: number;
    readonly majorPageFaults: number;
    readonly pressure?: Pressure;
  };
  readonly io: { readonly pressure?: Pressure };
  readonly threads: number;
}

/** Since the interface was made. */
export interface InterfaceUsage {
  readonly name: string;
  readonly rxBytes: number;
  readonly rxErrors: number;
  readonly txBytes: number;
  readonly txErrors: number;
}

export interface NetworkUsage {
  readonly atMs: number;
  /** Without loopback. */
  readonly interfaces: readonly InterfaceUsage[];
}
