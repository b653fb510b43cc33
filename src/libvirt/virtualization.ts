// Whether machines run on the processor or are emulated.

import { open, readFile } from "node:fs/promises";
import type { LibvirtOptions } from "./options.ts";

/**
 * `auto` is kvm only where /dev/kvm opens and, on x86, the processor has the extension: a /dev/kvm without it answers,
 * and then guests hang on it.
 */
export async function resolveVirtualization(
  wanted: LibvirtOptions["virtualization"],
  { kvmPath = "/dev/kvm", cpuInfoPath = "/proc/cpuinfo" }: { kvmPath?: string; cpuInfoPath?: string } = {},
): Promise<"kvm" | "emulated"> {
  if (wanted !== "auto") return wanted;
  try {
    await using _kvm = await open(kvmPath, "r+");
    const cpuInfo = await readFile(cpuInfoPath, "utf8");
    const isX86 = /^flags\s*:/m.test(cpuInfo);
    return !isX86 || /^flags\s*:.*\b(vmx|svm)\b/m.test(cpuInfo) ? "kvm" : "emulated";
  } catch {
    return "emulated"; // not there, or not for us
  }
}
