// Joins a machine's tap to its pod's interface inside the pod's netns.

import { existsSync } from "node:fs";
import { z } from "zod";
import type { Run } from "../lib/spawn.ts";
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
/** What goes into a batch line must not be able to be another word or line. */
const INTERFACE_NAME = /^[A-Za-z0-9][A-Za-z0-9._-]{0,14}$/;

const linksSchema = z.array(z.looseObject({ ifindex: z.int(), ifname: z.string() }));

/** Aborting may leave part of the work done; the next wire completes it and unwire undoes it. */
export function createWiring(options: KernelOptions, { run, log }: WiringParts): Wiring {
  return {
    async wire(request, signal) {
      const { tapName, attachment } = request;
      for (const name of [tapName, attachment.interfaceName]) {
        if (!INTERFACE_NAME.test(name)) throw invalid("interface", `${JSON.stringify(name)} is not an interface name`);
      }
      const tools = iprouteIn(request.netnsPath, run);
      const foundIndex = await findLink(tools, tapName, signal);
      const tapIndex = foundIndex ?? (await moveTap(request, tools, run, signal));
      await tools.ipBatch(
        [
          // No address of its own making: the netns must not speak IPv6 to the guest.
          ...(existsSync("/proc/sys/net/ipv6") ? [`link set dev ${tapName} addrgenmode none`] : []),
          `link set dev ${tapName} mtu ${attachment.mtu} up`,
          `address replace ${DHCP_SERVER_ADDRESS}/32 dev ${tapName}`,
        ],
        signal,
      );
      const isNewTap = foundIndex === undefined; // it cannot be joined yet: nothing to look at
      await (isNewTap ? replaceRedirect : ensureRedirect)(tools, attachment.interfaceName, tapName, signal);
      await ensureDhcp(request, tapIndex, options, { run, log }, signal);
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

/** The interface's index; undefined when it is not in that netns. */
async function findLink(tools: Iproute, name: string, signal: AbortSignal): Promise<number | undefined> {
  const links = linksSchema.parse(JSON.parse(await tools.ip(["-j", "link", "show"], signal)));
  return links.find(({ ifname }) => ifname === name)?.ifindex;
}

async function moveTap(
  { podId, tapName, netnsPath }: WireRequest,
  tools: Iproute,
  run: Run,
  signal: AbortSignal,
): Promise<number> {
  const host = iprouteIn(undefined, run);
  await host.ip(["link", "set", "dev", tapName, "netns", netnsPath], signal);
  const index = await findLink(tools, tapName, signal);
  if (index !== undefined) return index;
  throw new VmletError(
    { code: "TOOL_FAILED", tool: "ip", exitCode: 0 },
    `pod ${podId}: tap ${tapName} is not in ${netnsPath} after it was moved there; did its domain end?`,
  );
}
