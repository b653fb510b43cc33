// Joins a machine's tap to its pod's interface inside the pod's netns.

import { existsSync } from "node:fs";
import { z } from "zod";
import type { Run } from "../lib/spawn.ts";
import type { Attachment } from "../model/attachment.ts";
import { invalid, VmletError } from "../model/failure.ts";
import type { Logger } from "../ports/logger.ts";
import type { WireRequest, Wiring } from "../ports/wiring.ts";
import { ensureDhcp, stopDhcp } from "./dhcp.ts";
import { type Iproute, iprouteIn } from "./iproute.ts";
import { isPinnedNetns } from "./netns.ts";
import type { KernelOptions } from "./options.ts";
import { DHCP_SERVER_ADDRESS, dropRedirect, ensureRedirect, replaceRedirect } from "./redirect.ts";

export interface WiringParts {
  readonly run: Run;
  readonly log: Logger;
}

/** The interface whose redirect `unwire` ends: CNI always gives this name. */
const POD_INTERFACE = "eth0";
const DHCP_SERVER_PREFIX_LENGTH = 32;
/** What goes into a batch line must not be able to be another word or line. */
const INTERFACE_NAME = /^[A-Za-z0-9][A-Za-z0-9._-]{0,14}$/;

/** What `ip -j -d` says of links and of their addresses, as far as it matters here. */
const linksSchema = z.array(
  z.looseObject({
    ifindex: z.int(),
    ifname: z.string(),
    mtu: z.int(),
    flags: z.array(z.string()),
    inet6_addr_gen_mode: z.string().optional(),
  }),
);
const addressesSchema = z.array(
  z.looseObject({
    ifname: z.string(),
    addr_info: z.array(z.looseObject({ local: z.string().optional(), prefixlen: z.int().optional() })),
  }),
);
type Link = z.infer<typeof linksSchema>[number] & z.infer<typeof addressesSchema>[number];

/** Aborting may leave part of the work done; the next wire completes it and unwire undoes it. */
export function createWiring(options: KernelOptions, { run, log }: WiringParts): Wiring {
  return {
    async wire(request, signal) {
      const { tapName, attachment } = request;
      for (const name of [tapName, attachment.interfaceName]) {
        if (!INTERFACE_NAME.test(name)) throw invalid("interface", `${JSON.stringify(name)} is not an interface name`);
      }
      const tools = iprouteIn(request.netnsPath, run);
      // A node that starts wires all its pods again: where nothing is missing, these two looks are all that runs.
      const found = await findLink(tools, tapName, signal);
      const tap = found ?? (await moveTap(request, tools, run, signal));
      if (!isSetUp(tap, attachment)) await setUp(tools, tapName, attachment, signal);
      const isNewTap = found === undefined; // it cannot be joined yet: nothing to look at
      await (isNewTap ? replaceRedirect : ensureRedirect)(tools, attachment.interfaceName, tapName, signal);
      await ensureDhcp(request, tap.ifindex, options, { run, log }, signal);
    },

    async unwire({ podId, netnsPath }, signal) {
      await stopDhcp(podId, options, signal);
      if (!(await isPinnedNetns(netnsPath))) return;
      const tools = iprouteIn(netnsPath, run);
      if ((await findLink(tools, POD_INTERFACE, signal)) === undefined) return;
      await dropRedirect(tools, POD_INTERFACE, signal);
    },
  };
}

/** Undefined when it is not in that netns. */
async function findLink(tools: Iproute, name: string, signal: AbortSignal): Promise<Link | undefined> {
  const shown = await tools.ipBatch(["link show", "address show"], signal);
  const [links = "[]", addresses = "[]"] = shown.split("\n");
  const link = linksSchema.parse(JSON.parse(links)).find(({ ifname }) => ifname === name);
  const its = addressesSchema.parse(JSON.parse(addresses)).find(({ ifname }) => ifname === name);
  return link && its && { ...link, ...its };
}

function isSetUp(tap: Link, { mtu }: Attachment): boolean {
  const hasAddress = tap.addr_info.some(
    ({ local, prefixlen }) => local === DHCP_SERVER_ADDRESS && prefixlen === DHCP_SERVER_PREFIX_LENGTH,
  );
  const isSilent = tap.inet6_addr_gen_mode === (hasIpv6() ? "none" : undefined);
  return hasAddress && isSilent && tap.mtu === mtu && tap.flags.includes("UP");
}

async function setUp(tools: Iproute, tapName: string, { mtu }: Attachment, signal: AbortSignal): Promise<void> {
  await tools.ipBatch(
    [
      // No address of its own making: the netns must not speak IPv6 to the guest.
      ...(hasIpv6() ? [`link set dev ${tapName} addrgenmode none`] : []),
      `link set dev ${tapName} mtu ${mtu} up`,
      `address replace ${DHCP_SERVER_ADDRESS}/${DHCP_SERVER_PREFIX_LENGTH} dev ${tapName}`,
    ],
    signal,
  );
}

const hasIpv6 = (): boolean => existsSync("/proc/sys/net/ipv6");

async function moveTap(
  { podId, tapName, netnsPath }: WireRequest,
  tools: Iproute,
  run: Run,
  signal: AbortSignal,
): Promise<Link> {
  const host = iprouteIn(undefined, run);
  await host.ip(["link", "set", "dev", tapName, "netns", netnsPath], signal);
  const tap = await findLink(tools, tapName, signal);
  if (tap) return tap;
  throw new VmletError(
    { code: "TOOL_FAILED", tool: "ip", exitCode: 0 },
    `pod ${podId}: tap ${tapName} is not in ${netnsPath} after it was moved there; did its domain end?`,
  );
}
