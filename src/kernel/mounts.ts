// What is mounted where, as /proc/self/mounts tells it.

import { readFileSync } from "node:fs";

export const MOUNTS_PATH = "/proc/self/mounts";

export interface MountLine {
  readonly path: string;
  /** Of the file system. */
  readonly type: string;
  readonly options: readonly string[];
}

/** Of lines such as `server:/export /mnt nfs4 rw 0 0`, in their order: of equal paths the last one is seen. */
export function mountsIn(text: string): MountLine[] {
  return text.split("\n").flatMap((line) => {
    const [, path = "", type = "", options = ""] = line.split(" ");
    return path === "" ? [] : [{ path: unescaped(path), type, options: options.split(",") }];
  });
}

/** Blanks in paths are octal numbers. */
const unescaped = (path: string): string =>
  path.replace(/\\([0-7]{3})/g, (_, octal: string) => String.fromCharCode(Number.parseInt(octal, 8)));

/** File systems whose answer comes from the node itself. */
const LOCAL: ReadonlySet<string> = new Set(
  "bcachefs btrfs erofs exfat ext2 ext3 ext4 f2fs iso9660 jfs overlay ramfs rootfs squashfs tmpfs udf vfat xfs zfs".split(
    " ",
  ),
);

/** True of all that asks somebody else: a server that is away, or a process that died. Links are not followed. */
export function mayHang(path: string, mountsPath = MOUNTS_PATH): boolean {
  const type = typeOf(path, mountsIn(readFileSync(mountsPath, "utf8")));
  return type !== undefined && !LOCAL.has(type);
}

/** Of the longest that leads to the path. The file system itself is not asked. */
function typeOf(path: string, mounts: readonly MountLine[]): string | undefined {
  let found: MountLine | undefined;
  for (const mount of mounts) {
    const leads = path === mount.path || path.startsWith(mount.path.endsWith("/") ? mount.path : `${mount.path}/`);
    if (leads && mount.path.length >= (found?.path.length ?? 0)) found = mount;
  }
  return found?.type;
}
