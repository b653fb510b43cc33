import { spawn } from "node:child_process";
import { once } from "node:events";
import { mkdir, mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import {
  cgroupMountsOf,
  libvirtCgroupFolders,
  ownCgroupFolders,
  readCgroupUsage,
} from "../../../src/kernel/cgroup-usage.ts";
import { interfacesIn } from "../../../src/kernel/net-counters.ts";
import { processUsageOf, readProcessUsage } from "../../../src/kernel/process-usage.ts";

describe("a process", () => {
  test("has used what the kernel says", async () => {
    const child = spawn("sh", ["-c", "i=0; while [ $i -lt 200000 ]; do i=$((i+1)); done; echo done; read x"]);
    await once(child.stdout, "data");
    const usage = readProcessUsage(child.pid ?? 0);
    child.stdin.end();
    await once(child, "close");
    expect(usage?.cpuNanos).toBeGreaterThan(10_000_000);
    expect(usage?.rssBytes).toBeGreaterThan(100 * 1024);
    expect(usage).toMatchObject({ threads: 1, swapBytes: 0 });
    expect(readProcessUsage(child.pid ?? 0)).toBeUndefined();
  });

  test("may have any name; without memory it is a zombie, which uses nothing", () => {
    const stat = "42 (a) (b) S 1 42 42 0 -1 0 100 0 7 0 50 25 0 0 20 0 3 0 987654 1000 200 0 0";
    const status = "Name:\ta) (b\nVmRSS:\t  2048 kB\nVmSwap:\t      16 kB\n";
    expect(processUsageOf(stat, status)).toEqual({
      startTicks: 987654,
      cpuNanos: 750_000_000,
      pageFaults: 100,
      majorPageFaults: 7,
      rssBytes: 2 << 20,
      swapBytes: 16 << 10,
      threads: 3,
    });
    expect(processUsageOf(stat, "Name:\tx\nState:\tZ (zombie)\n")).toBeUndefined();
  });
});

describe("a cgroup", () => {
  let root: string;
  beforeEach(async () => void (root = await mkdtemp(join(tmpdir(), "vmlet-cgroup-"))));
  afterEach(async () => await rm(root, { recursive: true }));

  const put = async (files: Readonly<Record<string, string>>): Promise<void> => {
    for (const [path, content] of Object.entries(files)) {
      await mkdir(dirname(join(root, path)), { recursive: true });
      await writeFile(join(root, path), content);
    }
  };

  test("may be one of ours, in the pod's, and libvirt's no more", () => {
    const mounts = cgroupMountsOf("cgroup /c/memory cgroup rw,memory 0 0\ncgroup2 /c/unified cgroup2 rw 0 0\n");
    const pod = "/kubepods/burstable/pod1";
    const moved = `4:memory:${pod}/vmlet-machine\n0::/machine/qemu-1-web.libvirt-qemu/emulator\n`;
    expect(ownCgroupFolders(moved, mounts)).toMatchObject({
      memory: { path: `/c/memory${pod}/vmlet-machine`, version: 1 },
      cpu: { path: "/c/unified/machine/qemu-1-web.libvirt-qemu", version: 2 },
    });
    expect(libvirtCgroupFolders(moved, mounts)).toEqual(["/c/unified/machine/qemu-1-web.libvirt-qemu"]);
    expect(ownCgroupFolders(`4:memory:${pod}/vmlet\n`, mounts)).toEqual({});
  });

  test("of version 2 is that of libvirt's scope, whatever its threads are in, with its pressure", async () => {
    const scope = "kubepods.slice/machine-qemu\\x2d1\\x2dweb.scope";
    const psi = (share: string) =>
      `some avg10=${share} avg60=0.20 avg300=0.10 total=1234\nfull avg10=0.00 avg60=0.00 avg300=0.00 total=7\n`;
    await put({
      [`${scope}/cpu.stat`]: "usage_usec 5000\nuser_usec 4000\n",
      [`${scope}/cpu.pressure`]: "some avg10=1.50 avg60=0.20 avg300=0.10 total=1234\n",
      [`${scope}/memory.current`]: "1000000\n",
      [`${scope}/memory.stat`]: "anon 600000\nfile 390000\ninactive_file 300000\npgfault 12\npgmajfault 3\n",
      [`${scope}/memory.pressure`]: psi("2.50"),
      [`${scope}/io.pressure`]: psi("3.50"),
    });
    const mounts = cgroupMountsOf(`cgroup2 ${root} cgroup2 rw 0 0\n`);
    const usage = readCgroupUsage(ownCgroupFolders(`0::/${scope}/libvirt/emulator\n`, mounts));
    expect(usage).toMatchObject({
      cpuNanos: 5_000_000,
      cpuPressure: { some: { avg10: 1.5, totalUs: 1234 }, full: { totalUs: 0 } },
      memory: {
        usageBytes: 1_000_000,
        workingSetBytes: 700_000,
        rssBytes: 600_000,
        pageFaults: 12,
        majorPageFaults: 3,
      },
      memoryPressure: { some: { avg10: 2.5 }, full: { totalUs: 7 } },
      ioPressure: { some: { avg10: 3.5 } },
    });
  });

  test("of version 1 has a folder in each hierarchy, beside a version 2 that counts nothing", async () => {
    const name = "machine/qemu-3-web.libvirt-qemu";
    await put({
      [`cpuacct/${name}/cpuacct.usage`]: "123456789\n",
      [`memory/${name}/memory.usage_in_bytes`]: "5000\n",
      [`memory/${name}/memory.stat`]:
        "rss 1\ntotal_rss 4000\ntotal_inactive_file 500\ntotal_pgfault 9\ntotal_pgmajfault 2\n",
    });
    const mounts = cgroupMountsOf(
      `cgroup ${root}/cpuacct cgroup rw,cpuacct 0 0\ncgroup ${root}/memory cgroup rw,memory 0 0\ncgroup2 ${root} cgroup2 rw 0 0\n`,
    );
    const own = `4:memory:/${name}\n2:cpuacct:/${name}/emulator\n0::/\n`;
    expect(readCgroupUsage(ownCgroupFolders(own, mounts))).toEqual({
      cpuNanos: 123_456_789,
      memory: { usageBytes: 5000, workingSetBytes: 4500, rssBytes: 4000, pageFaults: 9, majorPageFaults: 2 },
    });
  });

  test("that is shared with others, or that is gone, says nothing of this machine", async () => {
    await put({ "user.slice/memory.current": "9\n", "user.slice/memory.stat": "anon 1\ninactive_file 0\n" });
    const mounts = cgroupMountsOf(`cgroup2 ${root} cgroup2 rw 0 0\n`);
    expect(readCgroupUsage(ownCgroupFolders("0::/user.slice\n", mounts))).toEqual({});
    expect(readCgroupUsage(ownCgroupFolders("0::/machine/qemu-1-x.libvirt-qemu\n", mounts))).toEqual({});
    expect(ownCgroupFolders("", mounts)).toEqual({});
  });
});

test("interfaces are read from /proc's table, without loopback", () => {
  const table = `Inter-|   Receive                                                |  Transmit
 face |bytes    packets errs drop fifo frame compressed multicast|bytes    packets errs drop fifo colls carrier compressed
    lo:     100       1    0    0    0     0          0         0      100       1    0    0    0     0       0          0
  eth0: 1234567      10    2    0    0     0          0         0     7654      11    3    0    0     0       0          0
vm0123456789ab:9 1 0 0 0 0 0 0 8 1 0 0 0 0 0 0
`;
  expect(interfacesIn(table)).toEqual([
    { name: "eth0", rxBytes: 1_234_567, rxErrors: 2, txBytes: 7654, txErrors: 3 },
    { name: "vm0123456789ab", rxBytes: 9, rxErrors: 0, txBytes: 8, txErrors: 0 },
  ]);
  expect(interfacesIn("not such a table: 1 2 3")).toEqual([]);
});
