// The part of libvirt's protocol that we speak, as one table. Numbers and layouts: remote_protocol.x, qemu_protocol.x,
// virkeepaliveprotocol.x and virnetprotocol.x of libvirt 9.0, which libvirt keeps compatible for ever.

import { garbled } from "./fault.ts";
import {
  array,
  type Codec,
  double,
  hyper,
  int,
  opaque,
  optional,
  string,
  struct,
  uhyper,
  uint,
  uuid,
  type ValueOf,
} from "./xdr.ts";

export const REMOTE_PROGRAM = 0x20008086;
const QEMU_PROGRAM = 0x20008087;
export const KEEPALIVE_PROGRAM = 0x6b656570;
/** All three have stayed at it. */
export const PROTOCOL_VERSION = 1;

export const KEEPALIVE_PING = 1;
export const KEEPALIVE_PONG = 2;

const DOMAINS_MAX = 16_384;
const AUTH_TYPES_MAX = 20;
const STATS_MAX = 262_144;
const SCHEDULER_PARAMETERS_MAX = 16;
const NUMA_PARAMETERS_MAX = 16;
const CPUMAP_MAX_BYTES = 2_048;

/** libvirt finds a domain by uuid; name and id are carried along. `id` is -1 for one that is off. */
const domain = struct({ name: string, uuid, id: int });
export type DomainRef = ValueOf<typeof domain>;

const network = struct({ name: string, uuid });

/** What stands in a reply instead of its values when libvirt refuses. */
export const refusal = struct({
  code: int,
  domain: int,
  message: optional(string),
  level: int,
  dom: optional(domain),
  str1: optional(string),
  str2: optional(string),
  str3: optional(string),
  int1: int,
  int2: int,
  net: optional(network),
});

type TypedValue =
  | { readonly type: "int" | "uint" | "double"; readonly value: number }
  | { readonly type: "llong" | "ullong"; readonly value: bigint }
  | { readonly type: "boolean"; readonly value: boolean }
  | { readonly type: "string"; readonly value: string };

const TYPED_VALUES = ["int", "uint", "llong", "ullong", "double", "boolean", "string"] as const; // numbered from 1

const typedValue: Codec<TypedValue> = {
  write(out, item) {
    int.write(out, TYPED_VALUES.indexOf(item.type) + 1);
    if (item.type === "int") int.write(out, item.value);
    if (item.type === "uint") uint.write(out, item.value);
    if (item.type === "llong") hyper.write(out, item.value);
    if (item.type === "ullong") uhyper.write(out, item.value);
    if (item.type === "double") double.write(out, item.value);
    if (item.type === "boolean") int.write(out, item.value ? 1 : 0);
    if (item.type === "string") string.write(out, item.value);
  },
  read(from) {
    const number = int.read(from);
    const type = TYPED_VALUES[number - 1];
    if (type === undefined) throw garbled(`parameter of unknown type ${number}`);
    switch (type) {
      case "int":
        return { type, value: int.read(from) };
      case "uint":
        return { type, value: uint.read(from) };
      case "llong":
        return { type, value: hyper.read(from) };
      case "ullong":
        return { type, value: uhyper.read(from) };
      case "double":
        return { type, value: double.read(from) };
      case "boolean":
        return { type, value: int.read(from) !== 0 };
      case "string":
        return { type, value: string.read(from) };
    }
  },
};
const typedParam = struct({ field: string, value: typedValue });
export type TypedParam = ValueOf<typeof typedParam>;
const domainStats = struct({ domain, params: array(typedParam, STATS_MAX) });

/**
 * Which of our connections a call goes by, so that calls that may hang never stand before calls that must not:
 * `read` (never touches QEMU; repeatable), `lifecycle`, `slow` (waits for QEMU or the guest, however long).
 */
export type LaneName = "read" | "lifecycle" | "slow";

export interface Procedure<Args, Reply> {
  readonly name: string;
  readonly program: number;
  readonly number: number;
  readonly lane: LaneName;
  readonly args: Codec<Args>;
  readonly reply: Codec<Reply>;
}

const nothing = struct({});

const row =
  (program: number, lane: LaneName) =>
  <Args, Reply>(name: string, number: number, args: Codec<Args>, reply: Codec<Reply>): Procedure<Args, Reply> => ({
    name,
    program,
    number,
    lane,
    args,
    reply,
  });
const read = row(REMOTE_PROGRAM, "read");
const lifecycle = row(REMOTE_PROGRAM, "lifecycle");
const slow = row(REMOTE_PROGRAM, "slow");
const qemu = row(QEMU_PROGRAM, "slow");

export const procedures = {
  connectOpen: read("CONNECT_OPEN", 1, struct({ name: optional(string), flags: uint }), nothing),
  connectClose: read("CONNECT_CLOSE", 2, nothing, nothing),
  /** The hypervisor's version, QEMU's: major * 1,000,000 + minor * 1,000 + release. */
  getVersion: read("CONNECT_GET_VERSION", 4, nothing, struct({ version: uhyper })),
  getHostname: read("CONNECT_GET_HOSTNAME", 59, nothing, struct({ hostname: string })),
  supportsFeature: read("CONNECT_SUPPORTS_FEATURE", 60, struct({ feature: int }), struct({ isSupported: int })),
  authList: read("AUTH_LIST", 66, nothing, struct({ types: array(int, AUTH_TYPES_MAX) })),
  /** libvirt's version, spelled like `getVersion`'s. */
  getLibVersion: read("CONNECT_GET_LIB_VERSION", 157, nothing, struct({ version: uhyper })),
  listAllDomains: read(
    "CONNECT_LIST_ALL_DOMAINS",
    273,
    struct({ needResults: int, flags: uint }),
    struct({ domains: array(domain, DOMAINS_MAX), count: uint }),
  ),
  eventRegister: read(
    "CONNECT_DOMAIN_EVENT_CALLBACK_REGISTER_ANY",
    316,
    struct({ eventId: int, domain: optional(domain) }),
    struct({ callbackId: int }),
  ),
  eventDeregister: read("CONNECT_DOMAIN_EVENT_CALLBACK_DEREGISTER_ANY", 317, struct({ callbackId: int }), nothing),
  lookupByName: read("DOMAIN_LOOKUP_BY_NAME", 23, struct({ name: string }), struct({ domain })),
  lookupByUuid: read("DOMAIN_LOOKUP_BY_UUID", 24, struct({ uuid }), struct({ domain })),
  getXmlDesc: read("DOMAIN_GET_XML_DESC", 14, struct({ domain, flags: uint }), struct({ xml: string })),
  getState: read("DOMAIN_GET_STATE", 212, struct({ domain, flags: uint }), struct({ state: int, reason: int })),
  getMetadata: read(
    "DOMAIN_GET_METADATA",
    265,
    struct({ domain, type: int, uri: optional(string), flags: uint }),
    struct({ metadata: string }),
  ),

  defineXml: lifecycle("DOMAIN_DEFINE_XML_FLAGS", 350, struct({ xml: string, flags: uint }), struct({ domain })),
  create: lifecycle("DOMAIN_CREATE_WITH_FLAGS", 196, struct({ domain, flags: uint }), struct({ domain })),
  resume: lifecycle("DOMAIN_RESUME", 28, struct({ domain }), nothing),
  suspend: lifecycle("DOMAIN_SUSPEND", 34, struct({ domain }), nothing),
  shutdown: lifecycle("DOMAIN_SHUTDOWN_FLAGS", 258, struct({ domain, flags: uint }), nothing),
  destroy: lifecycle("DOMAIN_DESTROY_FLAGS", 234, struct({ domain, flags: uint }), nothing),
  undefine: lifecycle("DOMAIN_UNDEFINE_FLAGS", 231, struct({ domain, flags: uint }), nothing),
  setSchedulerParameters: lifecycle(
    "DOMAIN_SET_SCHEDULER_PARAMETERS_FLAGS",
    219,
    struct({ domain, params: array(typedParam, SCHEDULER_PARAMETERS_MAX), flags: uint }),
    nothing,
  ),
  pinVcpu: lifecycle(
    "DOMAIN_PIN_VCPU_FLAGS",
    225,
    struct({ domain, vcpu: uint, cpumap: opaque(CPUMAP_MAX_BYTES), flags: uint }),
    nothing,
  ),
  pinEmulator: lifecycle(
    "DOMAIN_PIN_EMULATOR",
    279,
    struct({ domain, cpumap: opaque(CPUMAP_MAX_BYTES), flags: uint }),
    nothing,
  ),
  setNumaParameters: lifecycle(
    "DOMAIN_SET_NUMA_PARAMETERS",
    254,
    struct({ domain, params: array(typedParam, NUMA_PARAMETERS_MAX), flags: uint }),
    nothing,
  ),
  setMemory: lifecycle("DOMAIN_SET_MEMORY_FLAGS", 204, struct({ domain, memoryKiB: uhyper, flags: uint }), nothing),

  getAllDomainStats: slow(
    "CONNECT_GET_ALL_DOMAIN_STATS",
    344,
    struct({ domains: array(domain, DOMAINS_MAX), stats: uint, flags: uint }),
    struct({ records: array(domainStats, DOMAINS_MAX) }),
  ),
  openConsole: slow("DOMAIN_OPEN_CONSOLE", 201, struct({ domain, device: optional(string), flags: uint }), nothing),
  openChannel: slow("DOMAIN_OPEN_CHANNEL", 296, struct({ domain, channel: optional(string), flags: uint }), nothing),
  agentCommand: qemu(
    "QEMU_DOMAIN_AGENT_COMMAND",
    3,
    struct({ domain, command: string, timeoutSeconds: int, flags: uint }),
    struct({ result: optional(string) }),
  ),
} as const;

/** An event: `id` to register for it, `number` it arrives under. */
export interface EventKind<Type extends string, Body> {
  readonly type: Type;
  readonly id: number;
  readonly number: number;
  readonly body: Codec<Body>;
}

const event = <Type extends string, Body>(
  type: Type,
  id: number,
  number: number,
  body: Codec<Body>,
): EventKind<Type, Body> => ({ type, id, number, body });

export const events = [
  event("lifecycle", 0, 318, struct({ callbackId: int, domain, event: int, detail: int })),
  event("reboot", 1, 319, struct({ callbackId: int, domain })),
  event(
    "io-error",
    6,
    324,
    struct({ callbackId: int, domain, sourcePath: string, device: string, action: int, reason: string }),
  ),
  event("agent", 18, 348, struct({ callbackId: int, domain, state: int, reason: int })),
] as const;

type EventOf<K> = K extends EventKind<infer Type, infer Body> ? { readonly type: Type } & Body : never;
export type DomainEvent = EventOf<(typeof events)[number]>;
