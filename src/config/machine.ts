// Settings of every machine.

import { z } from "zod";
import { bytes, limitMs } from "./field.ts";

export const machineSection = z
  .strictObject({
    defaultMemoryBytes: bytes().prefault("512Mi").describe("Bytes of guest memory when the pod sets no memory limit"),
    overheadBytes: bytes()
      .prefault("96Mi")
      .describe("Bytes that QEMU needs beside the guest's memory; what the pod's overhead does not cover comes off it"),
    minMemoryBytes: bytes().prefault("64Mi").describe("Bytes of guest memory below which a pod is refused"),
    bootMs: limitMs()
      .default(100_000)
      .describe(
        "Milliseconds after a machine's start in which exec waits for its guest to serve it, and fails only then",
      ),
    giveBackMs: limitMs()
      .default(20_000)
      .describe(
        "Milliseconds that a guest has to give memory back when its limit is lowered; the old limit stays if not",
      ),
  })
  .refine((machine) => machine.minMemoryBytes <= machine.defaultMemoryBytes, {
    path: ["minMemoryBytes"],
    message: "must not be above machine.defaultMemoryBytes",
  })
  .prefault({});
