// Whether machines run on the processor or are emulated.

import type { Config } from "../config/schema.ts";
import { extensionIn } from "../lib/processor.ts";
import { error, type Finding, ok, warning } from "./finding.ts";
import type { Node } from "./node.ts";

const DEVICE = "/dev/kvm";
const GROUP_MAY = 0o060;
const ALL_MAY = 0o006;

export async function checkKvm(node: Node, { libvirt }: Pick<Config, "libvirt">): Promise<Finding[]> {
  const found = await node.stat(DEVICE);
  const extension = extensionIn((await node.read("/proc/cpuinfo")) ?? "");
  if (found === undefined) return [without(`no ${DEVICE}`, extension, libvirt.virtualization)];
  // It answers without the extension as well, and then guests hang on it; so vmlet does not take it.
  if (extension === "none")
    return [without("the processor has neither vmx nor svm", extension, libvirt.virtualization)];
  const group = groupId((await node.read("/etc/group")) ?? "", "kvm");
  const mayAll = (found.mode & ALL_MAY) === ALL_MAY;
  const mayGroup = (found.mode & GROUP_MAY) === GROUP_MAY && found.gid === group;
  if (mayAll || mayGroup) return [ok("kvm", `${DEVICE} is there for QEMU`)];
  // Libvirt, as root, finds KVM; QEMU, as its own user, does not: it is probed again and again, and starts nothing.
  const mode = found.mode.toString(8).padStart(4, "0");
  const remedy = `chgrp kvm ${DEVICE} && chmod 660 ${DEVICE}; for good: a udev rule KERNEL=="kvm", GROUP="kvm", MODE="0660"`;
  return [error("kvm", `${DEVICE} has mode ${mode} and group ${found.gid}: QEMU's user may not open it`, remedy)];
}

function without(
  why: string,
  extension: ReturnType<typeof extensionIn>,
  wanted: Config["libvirt"]["virtualization"],
): Finding {
  if (wanted === "emulated") return ok("kvm", `${why}, and machines are emulated, as libvirt.virtualization says`);
  const remedy =
    extension === undefined || extension === "none"
      ? "switch on virtualization in the firmware; in a cloud, take an instance type with nested virtualization"
      : `modprobe ${extension === "vmx" ? "kvm_intel" : "kvm_amd"}`;
  if (wanted === "kvm")
    return error("kvm", `${why}, and libvirt.virtualization is kvm: no machine starts`, `${remedy}; or auto`);
  return warning("kvm", `${why}: machines are emulated, ten times slower or more`, remedy);
}

function groupId(groups: string, name: string): number | undefined {
  const [, , id] =
    groups
      .split("\n")
      .map((line) => line.split(":"))
      .find(([found]) => found === name) ?? [];
  return id === undefined ? undefined : Number(id);
}
