import { expect, test } from "vitest";
import { qemuUserIn } from "../../../src/lib/qemu-user.ts";

const ROOT = "root:x:0:0:root:/root:/bin/sh\n";

test.each([
  ["Debian", "libvirt-qemu:x:64055:107::/:/x\n", "kvm:x:107:ann\nlibvirt-qemu:x:64055:libvirt-qemu\n", 64_055, 64_055],
  ["a group of that name that it is not in", "libvirt-qemu:x:64055:107::/:/x\n", "libvirt-qemu:x:5:ann\n", 64_055, 107],
  ["Red Hat", "qemu:x:107:107::/:/x\n", "kvm:x:36:qemu\nqemu:x:107:\n", 107, 107],
])("of %s, QEMU's user and a group that QEMU has are found", (_what, passwd, group, uid, gid) => {
  expect(qemuUserIn(ROOT + passwd, `root:x:0:\n${group}`)).toEqual({ uid, gid });
});

test("without such a user there is none", () => {
  expect(qemuUserIn(ROOT, "libvirt-qemu:x:5:\n")).toBeUndefined();
});
