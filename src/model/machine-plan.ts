// What a machine is made of, in no hypervisor's language. The engine decides it, an adapter renders it.

import type { ImageDigest, MachineId, PodId } from "./ids.ts";
import type { DiskFormat } from "./image.ts";

export interface DiskPlan {
  /** The machine's own writable overlay. */
  readonly overlayPath: string;
  /** The shared base, read-only, never relabelled. */
  readonly base: { readonly path: string; readonly format: DiskFormat };
}

export interface NicPlan {
  /** At most 15 bytes: a Linux interface name. */
  readonly tapName: string;
  readonly mac: string;
  readonly mtu: number;
}

export interface CpuPlan {
  readonly count: number;
  readonly shares?: number;
  readonly periodUs?: number;
  /** For the whole machine, not per vCPU; negative or absent: no limit. */
  readonly quotaUs?: number;
  /** CPUs of the node that it may run on: `0-2,5`. */
  readonly cpuset?: string;
  /** Memory nodes of the node that its memory may be on, spelled the same. */
  readonly memoryNodes?: string;
}

export interface MachinePlan {
  readonly machineId: MachineId;
  readonly podId: PodId;
  readonly domainName: string;
  /** Shown by `virsh desc --title` and `virsh dumpxml`. */
  readonly title: string;
  readonly description: string;
  readonly metadata: {
    readonly namespace: string;
    readonly pod: string;
    readonly podUid: string;
    readonly container: string;
    readonly image: string;
    readonly imageDigest: ImageDigest;
  };
  readonly memoryBytes: number;
  readonly cpu: CpuPlan;
  /** What libvirt calls partition; absent: its default. */
  readonly partition?: string;
  readonly disk: DiskPlan;
  readonly seedPath: string;
  readonly nic: NicPlan;
  /** QEMU appends what the serial console prints. */
  readonly consoleFilePath: string;
  /** Where QEMU takes what somebody types on it. */
  readonly consoleSocketPath: string;
  /** QEMU writes what the guest's init reports on the port `dev.vmlet.init.0`. */
  readonly initReportPath: string;
  readonly vncSocketPath: string;
  /** The host's end of the port `dev.vmlet.ssh.0`; absent: the machine has no such port. */
  readonly sshSocketPath?: string;
  /** File name in the template folder, without `.xml`. */
  readonly template: string;
}

/** `<namespace>_<pod>_<first 12 of the id>`, at most 200 bytes because libvirt makes a file name of it. */
export function domainNameOf(namespace: string, pod: string, machineId: MachineId): string {
  const tail = `_${machineId.slice(0, 12)}`;
  const head = `${namespace}_${pod}`.replace(/[^A-Za-z0-9._-]/g, "-").replace(/^[.-]/, "x");
  return head.slice(0, 200 - tail.length) + tail;
}

/** The host's name for the machine's tap, unique by the machine's id: `vm` and 12 hex characters. */
export function tapNameOf(machineId: MachineId): string {
  return `vm${machineId.slice(0, 12)}`;
}

export const isTapName = (name: string): boolean => /^vm[0-9a-f]{12}$/.test(name);
