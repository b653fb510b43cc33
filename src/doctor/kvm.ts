// Whether machines run on the processor or are emulated.

import { error, type Finding, ok, warning } from "./finding.ts";
import type { Node } from "./node.ts";

const DEVICE = "/dev/kvm";
const GROUP_MAY = 0o060;
const ALL_MAY = 0o006;

export async function checkKvm(node: Node): Promise<Finding[]> {
  const found = await node.stat(DEVICE);
  if (found === undefined) return [await whyNone(node)];
  const group = groupId((await node.read("/etc/group")) ?? "", "kvm");
  const mayAll = (found.mode & ALL_MAY) === ALL_MAY;
  const mayGroup = (found.mode & GROUP_MAY) === GROUP_MAY && found.gid === group;
  if (mayAll || mayGroup) return [ok("kvm", `${DEVICE} is there for QEMU`)];
  // Libvirt, as root, finds KVM; QEMU, as its own user, does not: it is probed again and again, and starts nothing.
  const mode = found.mode.toString(8).padStart(4, "0");
  const remedy = `chgrp kvm ${DEVICE} && chmod 660 ${DEVICE}; for good: a udev rule KERNEL=="kvm", GROUP="kvm", MODE="0660"`;
  return [error("kvm", `${DEVICE} has mode ${mode} and group ${found.gid}: QEMU's user may not open it`, remedy)];
}

async function whyNone(node: Node): Promise<Finding> {
  const flags = /^flags\s*:(.*)$/m.exec((await node.read("/proc/cpuinfo")) ?? "")?.[1] ?? "";
  const can = /\b(vmx|svm)\b/.exec(flags)?.[1];
  const what = `no ${DEVICE}: machines are emulated, ten times slower or more`;
  if (can === undefined)
    return warning(
      "kvm",
      what,
      "switch on virtualization in the firmware; in a cloud, take an instance type with nested virtualization",
    );
  return warning("kvm", what, `modprobe ${can === "vmx" ? "kvm_intel" : "kvm_amd"}`);
}

function groupId(groups: string, name: string): number | undefined {
  const [, , id] =
    groups
      .split("\n")
      .map((line) => line.split(":"))
      .find(([found]) => found === name) ?? [];
  return id === undefined ? undefined : Number(id);
}
