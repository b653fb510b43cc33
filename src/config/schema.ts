// The whole configuration: every setting with its type, default, unit and meaning.

import { z } from "zod";
import { cniSection } from "./cni.ts";
import { consoleSection } from "./console.ts";
import { absolutePath } from "./field.ts";
import { imagesSection } from "./images.ts";
import { kernelSection } from "./kernel.ts";
import { libvirtSection } from "./libvirt.ts";
import { machineSection } from "./machine.ts";
import { metricsSection } from "./metrics.ts";
import { routerSection } from "./router.ts";
import { streamingSection } from "./streaming.ts";

export const configSchema = z.strictObject({
  socketPath: absolutePath().default("/run/vmlet/vmlet.sock").describe("Unix socket on which CRI is served, mode 0600"),
  stateFolderPath: absolutePath()
    .default("/var/lib/vmlet")
    .describe("What must survive a reboot: records, disks, images"),
  runFolderPath: absolutePath().default("/run/vmlet").describe("What must not: sockets and the like"),
  logLevel: z
    .enum(["error", "warn", "info", "debug"])
    .default("info")
    .describe("The least important line that is logged"),
  cgroupDriver: z
    .enum(["auto", "systemd", "cgroupfs"])
    .default("auto")
    .describe("What the kubelet is told; `auto`: systemd where it is the init, otherwise cgroupfs"),
  libvirt: libvirtSection,
  cni: cniSection,
  images: imagesSection,
  kernel: kernelSection,
  machine: machineSection,
  console: consoleSection,
  streaming: streamingSection,
  metrics: metricsSection,
  router: routerSection,
});

/** What is in effect: flags over file over defaults. Frozen to the last level, whatever the type of a list says. */
export type Config = Readonly<z.output<typeof configSchema>>;
