// Settings of the pod network.

import { z } from "zod";
import { absolutePath, limitMs } from "./field.ts";

export const cniSection = z
  .strictObject({
    configFolderPath: absolutePath()
      .default("/etc/cni/net.d")
      .describe("Folder of network configurations; the first by name is used"),
    binFolderPaths: z
      .array(absolutePath())
      .min(1)
      .max(16)
      .default(["/opt/cni/bin", "/usr/lib/cni"])
      .describe("Folders in which plugins are looked for, in this order"),
    pluginLimitMs: limitMs().default(60_000).describe("Milliseconds that one plugin may take before it is killed"),
  })
  .prefault({});
