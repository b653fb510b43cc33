// What an admin may say about CNI.

import { z } from "zod";

const path = z.string().startsWith("/");

export const cniOptionsSchema = z.strictObject({
  /** Network configurations (`*.conflist`, `*.conf`, `*.json`); the first by name is used. Read again at each attach. */
  configFolderPath: path.default("/etc/cni/net.d"),
  /** Where plugins are looked for, in this order. */
  binFolderPaths: z.array(path).min(1).default(["/opt/cni/bin", "/usr/lib/cni"]),
  /** One record per attached pod; must survive a node reboot, so that addresses are given back. */
  cacheFolderPath: path.default("/var/lib/vmlet/cni"),
  /** Milliseconds that one plugin may take before it is killed. */
  pluginLimitMs: z.int().positive().default(60_000),
});

export type CniOptions = z.infer<typeof cniOptionsSchema>;
