import { expect, test } from "vitest";
import { cgroupRoots } from "../../../src/kernel/cgroups.ts";

test("the hierarchies that count are v2 and those of v1 in which libvirt places a QEMU", () => {
  const mounts = [
    "tmpfs /sys/fs/cgroup tmpfs rw 0 0",
    "cgroup /sys/fs/cgroup/cpu,cpuacct cgroup rw,cpu,cpuacct 0 0",
    "cgroup /sys/fs/cgroup/pids cgroup rw,pids 0 0",
    "cgroup /sys/fs/cgroup/systemd cgroup rw,name=systemd 0 0",
    "cgroup2 /sys/fs/cgroup/unified cgroup2 rw 0 0",
    "",
  ].join("\n");
  expect(cgroupRoots(mounts)).toEqual(["/sys/fs/cgroup/cpu,cpuacct", "/sys/fs/cgroup/unified"]);
});
