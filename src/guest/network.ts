// What CNI gave the pod, as a guest wants to read it: cloud-init's network config, and variables for sh.

import { BlockList, isIPv6 } from "node:net";
import type { Attachment, IpAddress, Route } from "../model/attachment.ts";
import { invalid } from "../model/failure.ts";
import type { DnsConfig } from "../model/pod.ts";
import { shellQuote } from "./shell.ts";

export interface GuestNetwork {
  readonly attachment: Attachment;
  readonly dns: DnsConfig;
  readonly hostname: string;
}

const DEFAULT_DESTINATIONS: ReadonlySet<string> = new Set(["0.0.0.0/0", "::/0"]);

/** cloud-init's network config, version 2. @see cloud-init, "Networking config Version 2" */
export function networkConfig({ attachment, dns }: GuestNetwork): object {
  const { interfaceName, mac, mtu, addresses } = attachment;
  const gateways = defaultGateways(attachment);
  const near = gateways.filter((gateway) => isOnLink(gateway, addresses));
  const far = gateways.filter((gateway) => !near.includes(gateway));
  const routes = [
    ...far.map((via) => ({ to: isIPv6(via) ? "::/0" : "0.0.0.0/0", via, "on-link": true })),
    ...otherRoutes(attachment).map(({ destination, gateway }) => ({ to: destination, ...hop(gateway, addresses) })),
  ];
  const v4 = near.find((gateway) => !isIPv6(gateway));
  const v6 = near.find(isIPv6);
  const ethernet = {
    match: { macaddress: mac },
    "set-name": interfaceName,
    mtu,
    dhcp4: false,
    dhcp6: false,
    "accept-ra": false, // CNI has told all routers: one that advertises itself is another pod, and wants this one's packets
    addresses: addresses.map(cidr),
    // gateway4 and gateway6 and not routes: ifupdown's renderer sets routes with a tool that few images have.
    ...(v4 === undefined ? {} : { gateway4: v4 }),
    ...(v6 === undefined ? {} : { gateway6: v6 }),
    ...(routes.length === 0 ? {} : { routes }),
    nameservers: { addresses: dns.servers, search: dns.searches },
  };
  return { version: 2, ethernets: { [interfaceName]: ethernet } };
}

/** `vmlet/network`: variables for sh. @throws SPEC_INVALID for a name or server with white space or beyond ASCII */
export function networkVariables({ attachment, dns, hostname }: GuestNetwork): string {
  const variables = {
    VMLET_MAC: [attachment.mac],
    VMLET_MTU: [String(attachment.mtu)],
    VMLET_HOSTNAME: plain("hostname", [hostname]),
    VMLET_ADDRESSES: attachment.addresses.map(cidr),
    VMLET_GATEWAYS: defaultGateways(attachment),
    VMLET_ROUTES: otherRoutes(attachment).map(({ destination, gateway = "" }) => `${destination},${gateway}`),
    VMLET_NAMESERVERS: plain("dnsConfig.servers", dns.servers),
    VMLET_SEARCHES: plain("dnsConfig.searches", dns.searches),
    VMLET_DNS_OPTIONS: plain("dnsConfig.options", dns.options),
  };
  const lines = Object.entries(variables).map(([name, words]) => `${name}=${shellQuote(words.join(" "))}\n`);
  return lines.join("");
}

/** Of the default routes that CNI gave, the gateway of the first of each family. */
function defaultGateways({ routes }: Attachment): readonly string[] {
  const gateways = routes
    .filter(isDefault)
    .map(({ gateway }) => gateway)
    .filter((gateway) => gateway !== undefined);
  const first = [gateways.find((gateway) => !isIPv6(gateway)), gateways.find(isIPv6)];
  return first.filter((gateway) => gateway !== undefined);
}

/** All but the default routes by a gateway: one on the link is a route like others. */
function otherRoutes({ routes }: Attachment): readonly Route[] {
  return routes.filter((route) => !isDefault(route) || route.gateway === undefined);
}

const isDefault = ({ destination }: Route): boolean => DEFAULT_DESTINATIONS.has(destination);

function hop(gateway: string | undefined, addresses: readonly IpAddress[]): object {
  if (gateway === undefined) return { scope: "link" };
  return isOnLink(gateway, addresses) ? { via: gateway } : { via: gateway, "on-link": true };
}

/** Whether one of the pod's own prefixes holds the gateway; if not, a guest must be told that it is on the link. */
function isOnLink(gateway: string, addresses: readonly IpAddress[]): boolean {
  const list = new BlockList();
  for (const { address, prefixLength, family } of addresses) list.addSubnet(address, prefixLength, `ipv${family}`);
  // fe80::/10 is on every link.
  list.addSubnet("fe80::", 10, "ipv6");
  return list.check(gateway, isIPv6(gateway) ? "ipv6" : "ipv4");
}

const cidr = ({ address, prefixLength }: IpAddress): string => `${address}/${prefixLength}`;

function plain(field: string, words: readonly string[]): readonly string[] {
  const odd = words.find((word) => !/^[\x21-\x7e]*$/.test(word));
  if (odd !== undefined) throw invalid(field, `${JSON.stringify(odd.slice(0, 80))} has white space or is not ASCII`);
  return words;
}
