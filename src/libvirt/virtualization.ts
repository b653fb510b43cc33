// Whether machines run on the processor or are emulated.

import { open, readFile } from "node:fs/promises";
import { extensionIn } from "../lib/processor.ts";
import type { LibvirtOptions } from "./options.ts";

/** Where the node says what it can; elsewhere in tests. */
export interface KvmPaths {
  readonly kvmPath: string;
  readonly cpuInfoPath: string;
}

const PATHS: KvmPaths = { kvmPath: "/dev/kvm", cpuInfoPath: "/proc/cpuinfo" };

/** `auto` is kvm only where nothing speaks against it. */
export async function resolveVirtualization(
  wanted: LibvirtOptions["virtualization"],
  paths?: KvmPaths,
): Promise<"kvm" | "emulated"> {
  if (wanted !== "auto") return wanted;
  return (await whyNoKvm(paths)) === undefined ? "kvm" : "emulated";
}

/**
 * Undefined where /dev/kvm opens and, on x86, the processor has the extension: a /dev/kvm without it answers, and then guests
 * hang on it.
 */
export async function whyNoKvm({ kvmPath, cpuInfoPath } = PATHS): Promise<string | undefined> {
  try {
    await using _kvm = await open(kvmPath, "r+");
    const extension = extensionIn(await readFile(cpuInfoPath, "utf8"));
    return extension === "none" ? "the processor has neither vmx nor svm" : undefined;
  } catch (error) {
    return error instanceof Error ? error.message : String(error); // not there, or not for us
  }
}
