// Plans of machines that need not exist, for tests of what is made of them.

import type { ImageDigest, MachineId, PodId } from "../../src/model/ids.ts";
import type { MachinePlan } from "../../src/model/machine-plan.ts";

/** A plan with every optional field said. */
export function somePlan(changes: Partial<MachinePlan> = {}): MachinePlan {
  const machineId = "0123456789ab4cdef0".padEnd(64, "7") as MachineId;
  return {
    machineId,
    podId: "fedcba".padEnd(64, "1") as PodId,
    domainName: "default_web_0123456789ab",
    title: "default/web",
    description: "container main of pod default/web",
    metadata: {
      namespace: "default",
      pod: "web",
      podUid: "6a1b8ab0-37d7-4b68-8b20-8a0c3dbfd3a4",
      container: "main",
      image: "vmlet.dev/https/images.example.org/tiny.qcow2:latest",
      imageDigest: `sha256:${"a".repeat(64)}` as ImageDigest,
    },
    memoryBytes: 128 * 1024 * 1024,
    cpu: { count: 2, shares: 204, periodUs: 100_000, quotaUs: 150_000, cpuset: "0-1", memoryNodes: "0" },
    partition: "/kubepods/burstable",
    disk: { overlayPath: "/var/lib/vmlet/m/disk.qcow2", base: { path: "/var/lib/vmlet/images/a", format: "qcow2" } },
    seedPath: "/var/lib/vmlet/m/seed.iso",
    nic: { tapName: "vm0123456789ab", mac: "0a:58:0a:58:00:05", mtu: 1450 },
    consoleSocketPath: "/run/vmlet/m/console.sock",
    consoleFilePath: "/var/lib/vmlet/m/console",
    initReportPath: "/var/lib/vmlet/m/init-report",
    vncSocketPath: "/run/vmlet/m/vnc.sock",
    sshSocketPath: "/run/vmlet/m/ssh.sock",
    template: "linux",
    ...changes,
  };
}
