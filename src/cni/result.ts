// What a plugin chain printed, of any known version, as an Attachment.

import { isIP } from "node:net";
import { z } from "zod";
import type { Attachment, IpAddress, Route } from "../model/attachment.ts";
import { pluginFailed } from "./errors.ts";
import { CNI_VERSIONS, type CniVersion, reasonOf } from "./network-config.ts";

/** Without a zone: the guest's interface has another name. */
const address = z.string().refine((text) => isIP(text) !== 0 && !text.includes("%"), "must be an IP address");
const cidr = z.string().refine((text) => parseCidr(text) !== undefined, "must be an address with a prefix length");
/** Plugins write "" for a gateway that they do not have. */
const optionalAddress = z
  .union([z.literal(""), address])
  .nullish()
  .transform((text) => (text === "" || text === null ? undefined : text));
const list = <T extends z.ZodType>(item: T, max: number) =>
  z
    .array(item)
    .max(max)
    .nullish()
    .transform((items) => items ?? []);

const mac = z.string().regex(/^([0-9a-fA-F]{2}:){5}[0-9a-fA-F]{2}$/, "must be a MAC address");
const mtu = z.int().min(68).max(65_536);

const resultSchema = z.looseObject({
  cniVersion: z.enum(CNI_VERSIONS).optional(),
  interfaces: list(
    z.looseObject({
      name: z.string(),
      mac: z.union([z.literal(""), mac]).optional(),
      mtu: z.union([z.literal(0), mtu]).optional(),
      sandbox: z.string().optional(),
    }),
    64,
  ),
  ips: list(z.looseObject({ address: cidr, gateway: optionalAddress, interface: z.int().nonnegative().nullish() }), 64),
  routes: list(z.looseObject({ dst: cidr, gw: optionalAddress, mtu: z.int().nonnegative().optional() }), 1024),
});
export type CniResult = z.infer<typeof resultSchema>;

/** What the kernel says of the interface in the netns, for what the result leaves out. */
export interface InterfaceFacts {
  readonly mac: string;
  readonly mtu: number;
  /** Routes through the interface, the kernel's own subnet routes left out. */
  readonly routes: readonly Route[];
}

/**
 * The result in the configuration's version, as the next plugin wants to get it in `prevResult`.
 * @throws NETWORK_FAILED naming the plugin when it is not a CNI result.
 */
export function parseResult(plugin: string, stdout: string, version: CniVersion): CniResult {
  try {
    const result = resultSchema.parse(JSON.parse(stdout));
    return { ...result, cniVersion: version, ips: result.ips.map((ip) => spellIp(ip, version)) };
  } catch (error) {
    throw pluginFailed(plugin, `ADD printed what is not a CNI result: ${reasonOf(error).slice(0, 500)}`);
  }
}

/** @throws NETWORK_FAILED naming the plugin when the pod got no address. */
export function toAttachment(
  plugin: string,
  result: CniResult,
  { network, interfaceName }: Pick<Attachment, "network" | "interfaceName">,
  facts: InterfaceFacts,
): Attachment {
  const addresses = addressesOf(result, interfaceName);
  if (addresses.length === 0) throw pluginFailed(plugin, `ADD gave ${interfaceName} no IP address`);
  const own = result.interfaces[indexOf(result, interfaceName)];
  return {
    network,
    interfaceName,
    mac: (own?.mac || facts.mac).toLowerCase(),
    mtu: own?.mtu || facts.mtu,
    addresses,
    routes: result.routes.length > 0 ? result.routes.map((route) => toRoute(route, addresses)) : facts.routes,
  };
}

/** Address and prefix length; undefined when the text is not a CIDR. */
export function parseCidr(text: string): { address: string; prefixLength: number; family: 4 | 6 } | undefined {
  const match = /^([0-9A-Fa-f.:]+)\/(\d{1,3})$/.exec(text);
  const [address, prefixLength] = [match?.[1] ?? "", Number(match?.[2])];
  const family = isIP(address);
  if (family === 4) return prefixLength <= 32 ? { address, prefixLength, family: 4 } : undefined;
  if (family === 6) return prefixLength <= 128 ? { address, prefixLength, family: 6 } : undefined;
  return undefined;
}

/** The pod's end; -1 when the plugin lists none. A sandbox name is what tells it from the host's end. */
function indexOf(result: CniResult, interfaceName: string): number {
  const isOwn = (name: string, sandbox: string | undefined): boolean => name === interfaceName && Boolean(sandbox);
  const exact = result.interfaces.findIndex((candidate) => isOwn(candidate.name, candidate.sandbox));
  return exact >= 0 ? exact : result.interfaces.findIndex((candidate) => Boolean(candidate.sandbox));
}

function addressesOf(result: CniResult, interfaceName: string): IpAddress[] {
  const index = indexOf(result, interfaceName);
  const own = result.ips.filter((ip) => ip.interface === undefined || ip.interface === null || ip.interface === index);
  // Some plugins list only the host's end and number the pod's address with it.
  const chosen = own.length > 0 || index >= 0 ? own : result.ips;
  return chosen.flatMap((ip) => {
    const parsed = parseCidr(ip.address);
    return parsed === undefined ? [] : [{ ...parsed, ...(ip.gateway === undefined ? {} : { gateway: ip.gateway }) }];
  });
}

/** A route without a gateway goes by that of an address of its family, as every plugin does it in the netns. */
function toRoute({ dst, gw, mtu }: CniResult["routes"][number], addresses: readonly IpAddress[]): Route {
  const family = parseCidr(dst)?.family;
  const gateway = gw ?? addresses.find((own) => own.family === family && own.gateway !== undefined)?.gateway;
  return {
    destination: dst,
    ...(gateway === undefined ? {} : { gateway }),
    ...(mtu === undefined || mtu === 0 ? {} : { mtu }),
  };
}

/** Until 1.0.0 an address says its family: "version": "4". */
function spellIp(ip: CniResult["ips"][number], version: CniVersion): CniResult["ips"][number] {
  const { version: _, ...rest } = ip;
  if (version.startsWith("1.")) return rest;
  return { ...rest, version: String(parseCidr(ip.address)?.family ?? 4) };
}
