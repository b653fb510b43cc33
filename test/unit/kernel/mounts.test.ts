import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import { mayHang } from "../../../src/kernel/mounts.ts";

const MOUNTS = `/dev/sda1 / ext4 rw 0 0
tmpfs /run tmpfs rw 0 0
server:/a /var/lib/kubelet/pods/1/volumes/nfs nfs4 rw 0 0
x /mnt/with\\040space fuse.sshfs rw 0 0
server:/b /data nfs rw 0 0
/dev/sdb1 /data xfs rw 0 0
`;
let folder = "";
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), "vmlet-mounts-"));
  await writeFile(join(folder, "mounts"), MOUNTS);
});
afterAll(async () => await rm(folder, { recursive: true }));

test.each([
  ["/etc/hosts", false],
  ["/run/x", false],
  ["/var/lib/kubelet/pods/1/volumes/nfs", true],
  ["/var/lib/kubelet/pods/1/volumes/nfs/token", true],
  ["/var/lib/kubelet/pods/1/volumes/nfs-not", false],
  ["/mnt/with space/x", true],
  ["/data/x", false], // what was mounted last is on top
])("%s may hang: %s", (path, expected) => {
  expect(mayHang(path, join(folder, "mounts"))).toBe(expected);
});
