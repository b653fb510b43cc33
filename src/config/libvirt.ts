// Settings of the hypervisor.

import { resolve } from "node:path";
import { z } from "zod";
import { absolutePath, limitMs } from "./field.ts";

const PROGRAM_FOLDER_PATH = resolve(import.meta.dirname, "../..");

export const libvirtSection = z
  .strictObject({
    socketPath: absolutePath()
      .default("/run/libvirt/libvirt-sock")
      .describe("Unix socket of libvirtd, or of virtqemud where the daemons are split"),
    virtualization: z
      .enum(["auto", "kvm", "emulated"])
      .default("auto")
      .describe("`auto`: kvm if `/dev/kvm` opens and, on x86, `/proc/cpuinfo` has vmx or svm; otherwise emulated"),
    templateFolderPath: z
      .string()
      .min(1)
      .max(4096)
      .transform((path) => resolve(PROGRAM_FOLDER_PATH, path))
      .prefault("domain-templates")
      .describe("Folder of domain templates; a relative path starts at vmlet's own folder"),
    tcgCacheMiB: z
      .int()
      .min(1)
      .max(4096)
      .default(32)
      .describe("MiB of translated code that an emulated machine may keep"),
    limitMs: z
      .strictObject({
        read: limitMs().default(10_000).describe("Milliseconds that a call may take which only reads"),
        lifecycle: limitMs().default(30_000).describe("Milliseconds for starting, stopping and the like"),
        slow: limitMs().default(60_000).describe("Milliseconds for the guest agent, statistics and the like"),
      })
      .prefault({}),
  })
  .prefault({});
