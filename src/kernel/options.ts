// What an admin may say about wiring.

import { z } from "zod";

export const kernelOptionsSchema = z.strictObject({
  /** One folder per wired pod with its DHCP server's configuration and pid; must not survive a reboot. */
  dhcpFolderPath: z.string().startsWith("/").default("/run/vmlet/dhcp"),
  /** The DHCP and router-advertisement server. */
  dnsmasqPath: z.string().startsWith("/").default("/usr/sbin/dnsmasq"),
});

export type KernelOptions = z.infer<typeof kernelOptionsSchema>;
