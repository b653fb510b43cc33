// Which cgroups there are, in every hierarchy that libvirt uses.

import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { MOUNTS_PATH, type MountLine, mountsIn } from "./mounts.ts";

/** A v1 hierarchy counts if it has one of these: what libvirt places a QEMU in. */
const LIBVIRT_CONTROLLERS = ["cpu", "cpuset", "memory", "blkio", "freezer"];

/** Whether a cgroup path (`/kubepods.slice/…`) is there in all of them; v2, v1 and both at once. */
export function createCgroupLookup(mountsPath = MOUNTS_PATH): (cgroupPath: string) => boolean {
  const roots = cgroupRoots(readFileSync(mountsPath, "utf8"));
  return (cgroupPath) => roots.length > 0 && roots.every((root) => existsSync(join(root, cgroupPath)));
}

/** There where systemd is the init. */
export const SYSTEMD_PATH = "/run/systemd/system";

/**
 * Libvirt places machines by systemd-machined where D-Bus can start that, which this file says. It is the node's: pid 1 is its
 * init, also from a container in its pid namespace. `/run/systemd/machines` is there without machined as well.
 */
export const MACHINED_PATH = "/proc/1/root/usr/share/dbus-1/system-services/org.freedesktop.machine1.service";

/** What is set, or, by itself, systemd where it is the init. */
export function cgroupDriverOf(
  setting: "auto" | "systemd" | "cgroupfs",
  { hasSystemd }: { readonly hasSystemd: boolean },
): "systemd" | "cgroupfs" {
  if (setting !== "auto") return setting;
  return hasSystemd ? "systemd" : "cgroupfs";
}

/** Mount points out of lines such as `cgroup /sys/fs/cgroup/cpu cgroup rw,cpu 0 0`. */
export function cgroupRoots(mounts: string): string[] {
  const isUsed = ({ type, options }: MountLine): boolean =>
    type === "cgroup2" || (type === "cgroup" && LIBVIRT_CONTROLLERS.some((name) => options.includes(name)));
  return mountsIn(mounts)
    .filter(isUsed)
    .map(({ path }) => path);
}
