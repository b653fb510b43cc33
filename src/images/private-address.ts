// What a server says must not lead from the internet into the node's own network, whatever the name resolves to.

import { lookup as dnsLookup, type LookupAddress } from "node:dns";
import { BlockList, isIP, type LookupFunction } from "node:net";
import { refused } from "./http-errors.ts";

const PRIVATE: readonly (readonly [string, number])[] = [
  ["0.0.0.0", 8],
  ["10.0.0.0", 8],
  ["100.64.0.0", 10],
  ["127.0.0.0", 8],
  ["172.16.0.0", 12],
  ["192.168.0.0", 16],
  ["::", 127],
  ["fc00::", 7],
];
/** Where clouds keep the credentials of the node. */
const LINK_LOCAL: readonly (readonly [string, number])[] = [
  ["169.254.0.0", 16],
  ["fe80::", 10],
];

const privateList = listOf(PRIVATE);
const linkLocalList = listOf(LINK_LOCAL);

export type ResolveAll = (
  host: string,
  done: (error: NodeJS.ErrnoException | null, addresses: readonly LookupAddress[]) => void,
) => void;

const resolveBySystem: ResolveAll = (host, done) => dnsLookup(host, { all: true }, done);

/** Of one download: the first URL may lead anywhere, what follows may not lead inwards. */
export class RedirectGuard {
  readonly #first: URL;
  readonly #resolve: ResolveAll;
  /** The first host is itself private: it and its like may send each other work. */
  #isInside: boolean;
  /** Of the first host, as it was reached first: its name may come to mean something else. */
  #firstAddresses: ReadonlySet<string> | undefined;

  constructor(first: URL, resolve: ResolveAll = resolveBySystem) {
    this.#first = first;
    this.#resolve = resolve;
    this.#isInside = isListed(privateList, hostOf(first));
  }

  /** For hosts that are addresses: those are never looked up. @throws IMAGE_SOURCE_REFUSED */
  check(to: URL): void {
    const host = hostOf(to);
    if (isIP(host) > 0 && host !== hostOf(this.#first) && this.#isForbidden(host)) throw this.#refusal(host, host);
  }

  /** For connections: what the name resolves to is what is connected to. */
  readonly lookup: LookupFunction = (host, options, callback) => {
    this.#resolve(host, (error, addresses) => {
      const [first] = addresses ?? [];
      if (error !== null || first === undefined) {
        return callback(error ?? Object.assign(new Error(`${host} has no address`), { code: "ENOTFOUND" }), "");
      }
      const isFirst = host === hostOf(this.#first);
      if (isFirst && this.#firstAddresses === undefined) {
        this.#firstAddresses = new Set(addresses.map(({ address }) => address));
        this.#isInside ||= addresses.every(({ address }) => isListed(privateList, address));
      }
      const known = isFirst ? this.#firstAddresses : undefined;
      const inner = addresses.find(({ address }) => known?.has(address) !== true && this.#isForbidden(address));
      if (inner !== undefined) return callback(this.#refusal(host, inner.address), "");
      if (options.all === true) return callback(null, [...addresses]);
      return callback(null, first.address, first.family);
    });
  };

  #isForbidden(address: string): boolean {
    return isListed(linkLocalList, address) || (!this.#isInside && isListed(privateList, address));
  }

  #refusal(host: string, address: string) {
    const to = host === address ? address : `${host}, which is ${address}`;
    return refused(this.#first, 0, `leads into a private network (${to}); allow that with allowPrivateRedirects`);
  }
}

const hostOf = ({ hostname }: URL): string => hostname.replace(/^\[|\]$/g, "");

function listOf(subnets: readonly (readonly [string, number])[]): BlockList {
  const list = new BlockList();
  for (const [net, prefix] of subnets) list.addSubnet(net, prefix, net.includes(":") ? "ipv6" : "ipv4");
  return list;
}

function isListed(list: BlockList, address: string): boolean {
  const family = isIP(address);
  return family > 0 && list.check(address, family === 6 ? "ipv6" : "ipv4");
}
