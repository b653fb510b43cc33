// What the pod's DHCP server is told, as the text of a dnsmasq configuration.

import { isIPv4 } from "node:net";
import type { Attachment, IpAddress, Route } from "../model/attachment.ts";
import type { DnsConfig } from "../model/pod.ts";

export interface DhcpFacts {
  readonly tapName: string;
  readonly attachment: Attachment;
  readonly dns: DnsConfig;
  readonly hostname: string;
  readonly pidFilePath: string;
}

/** One DHCP option holds 255 bytes; a route in option 121 takes at most 9, a line of the file 1024 characters. */
const MAX_ROUTES = 20;
const MAX_SEARCH_BYTES = 240;
const MAX_SERVERS = 8;

/** RFC 3442: the gateway of a route that needs none. */
const ON_LINK = "0.0.0.0";

const HOSTNAME = /^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$/i;
const DOMAIN = /^[a-z0-9_]([a-z0-9_-]{0,62})(\.[a-z0-9_][a-z0-9_-]{0,62})*\.?$/i;

/**
 * Everything that came from outside is either an address, a number or of a shape that cannot be a second value; what
 * is not is left out. Undefined: the pod has no IPv4 address, and there is nothing to serve.
 */
export function renderDnsmasqConfig({
  tapName,
  attachment,
  dns,
  hostname,
  pidFilePath,
}: DhcpFacts): string | undefined {
  const own = attachment.addresses.find(({ family, address }) => family === 4 && isIPv4(address));
  if (own === undefined) return undefined;
  const servers = dns.servers.filter((server) => isIPv4(server)).slice(0, MAX_SERVERS);
  const searches = fitting(dns.searches.filter((search) => DOMAIN.test(search) && search.length <= 253));
  const option = (number: number, values: readonly string[]): string =>
    ["dhcp-option=", [number, ...values].join(",")].join("");
  return [
    `pid-file=${pidFilePath}`,
    // DHCP only, to this tap only, and nothing read from or written to the host.
    "port=0",
    `interface=${tapName}`,
    "except-interface=lo",
    "bind-interfaces",
    "no-resolv",
    "no-hosts",
    "leasefile-ro",
    "log-facility=/dev/null",
    "quiet-dhcp",
    // The pod's address is also on eth0 here, and would answer the ping by itself.
    "no-ping",
    "dhcp-authoritative",
    `shared-network=${tapName},${own.address}`,
    `dhcp-range=${own.address},${own.address},${maskOf(own.prefixLength)},infinite`,
    `dhcp-host=${attachment.mac},${own.address},infinite`,
    "dhcp-ignore=tag:!known",
    ...routeOptions(attachment.routes, own).map(([number, values]) => option(number, values)),
    // Not in dhcp-host: a host that is called "ignore" is served nothing there, and one called "12" is a lease of 12 s.
    ...(HOSTNAME.test(hostname) ? [option(12, [hostname])] : []),
    option(6, servers),
    ...(searches.length === 0 ? [] : [option(119, searches)]),
    option(26, [String(attachment.mtu)]),
    "",
  ].join("\n");
}

/** Options 3 and 121. An option 3 without a value keeps the server from naming itself. */
function routeOptions(routes: readonly Route[], own: IpAddress): [number, readonly string[]][] {
  const known = routes.filter(
    ({ destination, gateway }) => isCidr4(destination) && (gateway === undefined || isIPv4(gateway)),
  );
  const isDefault = ({ destination }: Route): boolean => destination === "0.0.0.0/0";
  const router = known.find(isDefault)?.gateway;
  const forOldClients: [number, readonly string[]] = [3, router === undefined ? [] : [router]];
  const isPlain = known.every((route) => isDefault(route) && route.gateway !== undefined && isInSubnet(router, own));
  if (isPlain) return [forOldClients];
  // With option 121 a client ignores option 3, so the default route is among them; first, should there be too many.
  const defaultFirst = known.toSorted((a, b) => Number(isDefault(b)) - Number(isDefault(a)));
  const pairs = new Map<string, string>();
  for (const { destination, gateway } of defaultFirst) {
    // A gateway outside the subnet (169.254.1.1) is on the link: the client must know that before it is used.
    if (gateway !== undefined && !isInSubnet(gateway, own)) pairs.set(`${gateway}/32`, ON_LINK);
    if (!pairs.has(destination)) pairs.set(destination, gateway ?? ON_LINK);
  }
  return [forOldClients, [121, [...pairs].slice(0, MAX_ROUTES).flat()]];
}

function isCidr4(destination: string): boolean {
  const [address = "", prefixLength = ""] = destination.split("/");
  return isIPv4(address) && /^\d{1,2}$/.test(prefixLength);
}

function isInSubnet(address: string | undefined, { address: base, prefixLength }: IpAddress): boolean {
  if (address === undefined) return false;
  if (prefixLength === 0) return true;
  const shift = 32 - prefixLength;
  return numberOf(address) >>> shift === numberOf(base) >>> shift;
}

function numberOf(address: string): number {
  return address.split(".").reduce((sum, byte) => ((sum << 8) | Number(byte)) >>> 0, 0);
}

function maskOf(prefixLength: number): string {
  const bits = prefixLength === 0 ? 0 : (0xffffffff << (32 - prefixLength)) >>> 0;
  return [24, 16, 8, 0].map((shift) => (bits >>> shift) & 255).join(".");
}

function fitting(searches: readonly string[]): string[] {
  let bytes = 0;
  return searches.filter((search) => {
    bytes += search.length + 2;
    return bytes <= MAX_SEARCH_BYTES;
  });
}
