// What of a container's mounts goes into its guest.

import { environmentNotices } from "../model/environment.ts";
import type { MachineSpec, Mount } from "../model/machine.ts";
import type { CarriedMount } from "../ports/host-files.ts";
import type { PodRecord } from "../ports/pod-store.ts";
import type { SeedFile } from "../ports/seed.ts";
import type { Parts } from "./parts.ts";
import { annotationsOf } from "./plan-machine.ts";

/** Of one machine. A pod may mount the same config map ten thousand times, and all of it is in memory until the seed is written. */
const MAX_BYTES = 8 << 20;
const MAX_FILES = 1_024;

/** Small files travel in the seed; what cannot is said, and fails no pod: the kubelet adds mounts to every one. */
export async function carryMounts(
  { hostFiles }: Pick<Parts, "hostFiles">,
  pod: PodRecord,
  spec: Pick<MachineSpec, "env" | "mounts">,
  signal: AbortSignal,
): Promise<{ files: SeedFile[]; notices: string[] }> {
  const files: SeedFile[] = [];
  const notices = [...annotationsOf(pod).notices, ...environmentNotices(spec.env)];
  const leaveOut = ({ containerPath }: Mount, why: string): void => void notices.push(`mount ${containerPath}: ${why}`);
  let leftBytes = MAX_BYTES;
  let isFull = false;
  for (const mount of spec.mounts) {
    const carried: CarriedMount = isFull ? FULL : await hostFiles.carry(mount, signal);
    if (carried.is === "left-out") {
      leaveOut(mount, carried.why);
      continue;
    }
    leftBytes -= carried.files.reduce((sum, { content }) => sum + content.length, 0);
    isFull = leftBytes < 0 || files.length + carried.files.length > MAX_FILES;
    if (isFull) leaveOut(mount, FULL.why);
    else files.push(...carried.files);
  }
  return { files, notices };
}

/** Also what would fit behind it: which of a pod's files are there must not hang on how large the others are. */
const FULL = {
  is: "left-out",
  why: `all mounts of a container together are copied up to ${MAX_BYTES} bytes and ${MAX_FILES} files`,
} as const satisfies CarriedMount;
