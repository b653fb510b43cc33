// Which file system a path is on, without asking the file system.

import { readFileSync } from "node:fs";

/** Those whose answer comes from the node itself. */
const LOCAL: ReadonlySet<string> = new Set(
  [
    "bcachefs",
    "btrfs",
    "erofs",
    "exfat",
    "ext2",
    "ext3",
    "ext4",
    "f2fs",
    "iso9660",
    "jfs",
    "overlay",
    "ramfs",
    "rootfs",
  ].concat(["squashfs", "tmpfs", "udf", "vfat", "xfs", "zfs"]),
);

/** True of all that asks somebody else: a server that is away, or a process that died. Links are not followed. */
export function mayHang(path: string, mountsPath = "/proc/self/mounts"): boolean {
  const type = typeOf(path, readFileSync(mountsPath, "utf8"));
  return type !== undefined && !LOCAL.has(type);
}

/** Of lines such as `server:/export /mnt nfs4 rw 0 0`: the longest that leads to the path, the last of equals. */
function typeOf(path: string, mounts: string): string | undefined {
  let found: { readonly path: string; readonly type: string | undefined } = { path: "", type: undefined };
  for (const line of mounts.split("\n")) {
    const [, escaped = "", type] = line.split(" ");
    const mounted = escaped.replace(/\\([0-7]{3})/g, (_, octal: string) =>
      String.fromCharCode(Number.parseInt(octal, 8)),
    );
    const leads = path === mounted || path.startsWith(mounted.endsWith("/") ? mounted : `${mounted}/`);
    if (leads && mounted !== "" && mounted.length >= found.path.length) found = { path: mounted, type };
  }
  return found.type;
}
