// Settings of what is asked of the node's network stack.

import { z } from "zod";
import { absolutePath } from "./field.ts";

export const kernelSection = z
  .strictObject({
    dnsmasqPath: absolutePath().default("/usr/sbin/dnsmasq").describe("The DHCP server that runs in each pod's netns"),
  })
  .prefault({});
