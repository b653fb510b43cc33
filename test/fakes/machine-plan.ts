// A small machine for tests, with every field that a plan has.

import { type ImageDigest, type MachineId, newMachineId, newPodId } from "../../src/model/ids.ts";
import { domainNameOf, type MachinePlan, tapNameOf } from "../../src/model/machine-plan.ts";

/** Paths lie below `folderPath`, which need not exist for a machine that is never started. */
export function aMachinePlan(
  folderPath = "/nowhere",
  { machineId = newMachineId() }: { machineId?: MachineId } = {},
): MachinePlan {
  return {
    machineId,
    podId: newPodId(),
    domainName: domainNameOf("default", "test", machineId),
    title: "default/test",
    description: "A machine of a test",
    metadata: {
      namespace: "default",
      pod: "test",
      podUid: "0b0a3b5e-0000-4000-8000-000000000000",
      container: "vm",
      image: "vmlet.dev/https/example.com/disk.qcow2",
      imageDigest: `sha256:${"0".repeat(64)}` as ImageDigest,
    },
    memoryBytes: 64 << 20,
    cpu: { count: 1 },
    disk: { overlayPath: `${folderPath}/overlay.qcow2`, base: { path: `${folderPath}/base.qcow2`, format: "qcow2" } },
    seedPath: `${folderPath}/seed.iso`,
    nic: { tapName: tapNameOf(machineId), mac: "52:54:00:00:00:01", mtu: 1500 },
    consoleFilePath: `${folderPath}/console.log`,
    consoleSocketPath: `${folderPath}/console.sock`,
    initReportPath: `${folderPath}/init-report`,
    vncSocketPath: `${folderPath}/vnc.sock`,
    template: "linux",
  };
}
