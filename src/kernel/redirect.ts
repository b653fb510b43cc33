// The tc filters that make the VM the pod: what enters one interface leaves by the other, DHCP excepted.
//
// Only u32 and mirred: kernels differ in what else they have. A u32 filter with a flowid and no action ends the search
// and lets the packet through to the netns' own stack.

import { isDeepStrictEqual } from "node:util";
import { z } from "zod";
import { VmletError } from "../model/failure.ts";
import type { Iproute } from "./iproute.ts";

/** The tap's own address in the netns: what the guest's DHCP server is called. */
export const DHCP_SERVER_ADDRESS = "169.254.67.1";

const EXCEPTION_PREF = 1;
const REDIRECT_PREF = 10;

// Not a later fragment, whose bytes at the port's place are data.
const UDP_FIRST_FRAGMENT = "match ip protocol 17 0xff match u16 0 0x1fff at 6";
const TO_DHCP_SERVER = `${UDP_FIRST_FRAGMENT} match ip dport 67 0xffff`;

/** Broadcast, and unicast to our server; unicast to any other server is the guest's own business and goes out. */
const EXCEPTIONS = ["255.255.255.255", DHCP_SERVER_ADDRESS].map(
  (address) => `protocol ip prio ${EXCEPTION_PREF} u32 ${TO_DHCP_SERVER} match ip dst ${address}/32 flowid 1:1`,
);

const redirectTo = (target: string): string =>
  `protocol all prio ${REDIRECT_PREF} u32 match u32 0 0 action mirred egress redirect dev ${target}`;

/** What `tc -j filter show` says, as far as it tells our filters from others. */
const filtersSchema = z.array(
  z.looseObject({
    protocol: z.string(),
    pref: z.int(),
    options: z
      .looseObject({
        flowid: z.string().optional(),
        actions: z.array(z.looseObject({ kind: z.string(), to_dev: z.string().optional() })).optional(),
      })
      .optional(),
  }),
);

/** Replaces whatever filters both ends have, unless they are already right. */
export async function ensureRedirect(tools: Iproute, pod: string, tap: string, signal: AbortSignal): Promise<void> {
  const right = [
    [`all ${REDIRECT_PREF} ${tap}`],
    [`all ${REDIRECT_PREF} ${pod}`, ...EXCEPTIONS.map(() => `ip ${EXCEPTION_PREF} pass`)],
  ];
  const found = await filtersOf(tools, [pod, tap], signal);
  if (!isDeepStrictEqual(found, right)) await replaceRedirect(tools, pod, tap, signal);
}

/** Replaces whatever filters both ends have. */
export async function replaceRedirect(tools: Iproute, pod: string, tap: string, signal: AbortSignal): Promise<void> {
  await tools.tcBatch(
    [
      // A new qdisc where there is none, then no filters in either.
      ...[pod, tap].flatMap((device) => [`qdisc replace dev ${device} ingress`, `filter del dev ${device} ingress`]),
      ...EXCEPTIONS.map((exception) => `filter add dev ${tap} parent ffff: ${exception}`),
      `filter add dev ${tap} parent ffff: ${redirectTo(pod)}`,
      `filter add dev ${pod} parent ffff: ${redirectTo(tap)}`,
    ],
    signal,
  );
}

/** Ends the redirect on the pod's interface; the tap's own ends with the tap. */
export async function dropRedirect(tools: Iproute, pod: string, signal: AbortSignal): Promise<void> {
  await tools.tcBatch([`qdisc replace dev ${pod} ingress`, `qdisc del dev ${pod} ingress`], signal);
}

/** Of each device, sorted. Undefined where they cannot be told. */
async function filtersOf(
  tools: Iproute,
  devices: readonly string[],
  signal: AbortSignal,
): Promise<readonly (readonly string[])[] | undefined> {
  try {
    const shown = await tools.tcBatch(
      devices.map((device) => `filter show dev ${device} ingress`),
      signal,
    );
    return shown.trimEnd().split("\n").map(filtersIn); // a line of JSON for each
  } catch (error) {
    if (error instanceof VmletError || error instanceof SyntaxError || error instanceof z.ZodError) return undefined;
    throw error;
  }
}

function filtersIn(json: string): readonly string[] {
  return filtersSchema
    .parse(JSON.parse(json))
    .flatMap(({ protocol, pref, options }) => {
      const target = options?.actions?.find(({ kind }) => kind === "mirred")?.to_dev;
      if (target !== undefined) return [`${protocol} ${pref} ${target}`];
      return options?.flowid === undefined ? [] : [`${protocol} ${pref} pass`];
    })
    .toSorted();
}
