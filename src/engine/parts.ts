// What use cases work with: the ports, the records, one lock a pod.

import type { KeyedLock } from "../lib/keyed-lock.ts";
import type { Clock } from "../ports/clock.ts";
import type { ConsoleLogs } from "../ports/console-log.ts";
import type { Disks } from "../ports/disks.ts";
import type { Guests } from "../ports/guest-exec.ts";
import type { GuestFilesystems } from "../ports/guest-filesystems.ts";
import type { HostFiles } from "../ports/host-files.ts";
import type { Hypervisor } from "../ports/hypervisor.ts";
import type { ImageStore } from "../ports/image-store.ts";
import type { Logger } from "../ports/logger.ts";
import type { MachineCgroups } from "../ports/machine-cgroups.ts";
import type { Meter } from "../ports/meter.ts";
import type { Netns } from "../ports/netns.ts";
import type { Network } from "../ports/network.ts";
import type { Observer } from "../ports/observer.ts";
import type { PodStore } from "../ports/pod-store.ts";
import type { Seed } from "../ports/seed.ts";
import type { Streaming } from "../ports/streaming.ts";
import type { Wiring } from "../ports/wiring.ts";
import type { Pods } from "./pods.ts";

export interface Ports {
  readonly clock: Clock;
  readonly consoleLogs: ConsoleLogs;
  readonly disks: Disks;
  readonly guestFilesystems: GuestFilesystems;
  readonly guests: Guests;
  readonly hostFiles: HostFiles;
  readonly hypervisor: Hypervisor;
  readonly images: ImageStore;
  readonly log: Logger;
  readonly machineCgroups: MachineCgroups;
  readonly meter: Meter;
  readonly netns: Netns;
  readonly network: Network;
  readonly observer: Observer;
  readonly seed: Seed;
  readonly store: PodStore;
  readonly streaming: Streaming;
  readonly wiring: Wiring;
}

export interface EngineOptions {
  /** Guest memory where the pod names no limit. */
  readonly defaultMemoryBytes: number;
  /** What QEMU needs beside the guest's memory; taken from the limit as far as linux.overhead does not cover it. */
  readonly overheadBytes: number;
  readonly minMemoryBytes: number;
  /** A guest without a way in that started no longer ago than this is taken for booting. */
  readonly bootMs: number;
  /** What a guest gets to give memory back. */
  readonly giveBackMs: number;
  /** A cgroup that does not exist cannot be a partition. */
  readonly cgroupExists: (path: string) => boolean;
  readonly hasMachined: boolean;
}

export interface Parts extends Ports {
  readonly options: EngineOptions;
  readonly pods: Pods;
  /** Key: pod id, or a pod's name while it has no id yet. */
  readonly locks: KeyedLock;
}

/** How long one undo may take: libvirt's destroy plus CNI's DEL, with room. */
export const UNDO_LIMIT_MS = 90_000;
