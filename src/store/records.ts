// Records as they are on disk: `{ "v": 1, … }`, one schema per version. Strict both ways: a field that the schema does
// not know fails the save, so that it cannot be lost at the next restart.

import { z } from "zod";
import { type ImageDigest, isImageDigest, isMachineId, isPodId, type MachineId, type PodId } from "../model/ids.ts";
import type { MachineFacts, MachineState } from "../model/machine.ts";
import type { PodFacts, PodState } from "../model/pod.ts";
import type { Resources } from "../model/resources.ts";

/** Larger than what etcd lets a pod be with its config maps as base64 env; small enough to read without a thought. */
export const RECORD_MAX_BYTES = 4 << 20;

/** One kind of record: encode throws on what the schema refuses, decode throws an Error that says what is wrong. */
export interface RecordKind<T> {
  encode(value: T): string;
  decode(text: string): T;
}

const podId = z.custom<PodId>((value) => typeof value === "string" && isPodId(value), "not a pod id");
const machineId = z.custom<MachineId>((value) => typeof value === "string" && isMachineId(value), "not a machine id");
const imageDigest = z.custom<ImageDigest>((value) => typeof value === "string" && isImageDigest(value), "not a digest");
const whole = z.number().int();
const text = z.string();
const texts = z.array(text);
const textByName = z.record(text, text);

const resources = z.strictObject({
  cpuPeriodUs: z.exactOptional(z.number()),
  cpuQuotaUs: z.exactOptional(z.number()),
  cpuShares: z.exactOptional(z.number()),
  cpusetCpus: z.exactOptional(text),
  cpusetMems: z.exactOptional(text),
  memoryLimitBytes: z.exactOptional(z.number()),
});

const attachment = z.strictObject({
  network: text,
  interfaceName: text,
  mac: text,
  mtu: whole,
  addresses: z.array(
    z.strictObject({
      address: text,
      prefixLength: whole,
      gateway: z.exactOptional(text),
      family: z.union([z.literal(4), z.literal(6)]),
    }),
  ),
  routes: z.array(z.strictObject({ destination: text, gateway: z.exactOptional(text), mtu: z.exactOptional(whole) })),
});

const podFactsV1 = z.strictObject({
  podId,
  spec: z.strictObject({
    name: text,
    namespace: text,
    uid: text,
    attempt: whole,
    hostname: text,
    logFolderPath: text,
    dns: z.strictObject({ servers: texts, searches: texts, options: texts }),
    portMappings: z.array(
      z.strictObject({
        protocol: z.enum(["tcp", "udp", "sctp"]),
        containerPort: whole,
        hostPort: whole,
        hostIp: text,
      }),
    ),
    labels: textByName,
    annotations: textByName,
    runtimeHandler: text,
    cgroupParent: text,
    overhead: resources,
    pidMode: z.enum(["pod", "container"]),
    sysctls: textByName.default({}), // pods of before they were kept
  }),
  createdAtMs: z.number(),
  netnsPath: text,
});

const podStateV1 = z.discriminatedUnion("at", [
  z.strictObject({ at: z.literal("intended") }),
  z.strictObject({ at: z.literal("ready"), attachment }),
  z.strictObject({
    at: z.literal("stopping"),
    attachment: z.exactOptional(attachment),
    error: z.exactOptional(text),
  }),
  z.strictObject({ at: z.literal("stopped"), stoppedAtMs: z.number() }),
]);

const machineFactsV1 = z.strictObject({
  machineId,
  podId,
  spec: z.strictObject({
    name: text,
    attempt: whole,
    image: text,
    userImage: text,
    command: texts,
    args: texts,
    workingDir: text,
    runAs: z.exactOptional(z.strictObject({ user: text, gid: z.exactOptional(whole), groups: z.array(whole) })),
    input: z.exactOptional(z.strictObject({ isTty: z.boolean(), isOnce: z.boolean() })),
    env: z.array(z.strictObject({ name: text, valueBase64: text })),
    mounts: z.array(z.strictObject({ containerPath: text, hostPath: text, isReadOnly: z.boolean() })),
    labels: textByName,
    annotations: textByName,
    logPath: text,
    resources,
    stopSignal: whole,
  }),
  imageDigest,
  createdAtMs: z.number(),
  domainName: text,
  notices: texts,
});

const machineStateV1 = z.discriminatedUnion("at", [
  z.strictObject({ at: z.literal("intended") }),
  z.strictObject({ at: z.literal("created") }),
  z.strictObject({ at: z.literal("starting") }),
  z.strictObject({ at: z.literal("running"), startedAtMs: z.number() }),
  z.strictObject({ at: z.literal("stopping"), startedAtMs: z.number(), killAtMs: z.number() }),
  z.strictObject({
    at: z.literal("exited"),
    startedAtMs: z.exactOptional(z.number()),
    exit: z.strictObject({
      finishedAtMs: z.number(),
      exitCode: whole,
      reason: z.enum(["Completed", "Error", "OOMKilled"]),
      message: text,
    }),
  }),
]);

export const podFactsRecord: RecordKind<PodFacts> = kindOf("pod", podFactsV1);
export const podStateRecord: RecordKind<PodState> = kindOf("pod state", podStateV1);
export const machineFactsRecord: RecordKind<MachineFacts> = kindOf("machine", machineFactsV1);
export const resourcesRecord: RecordKind<Resources> = kindOf("resources", resources);
export const machineStateRecord: RecordKind<MachineState> = kindOf("machine state", machineStateV1);

const envelope = z.looseObject({ v: z.number() });

/** A second version adds a schema and a function from the first to the second here. */
function kindOf<T>(name: string, v1: z.ZodType<T>): RecordKind<T> {
  return {
    encode(value) {
      const parsed = v1.safeParse(value);
      if (!parsed.success) throw new Error(`${name} record does not fit its schema: ${z.prettifyError(parsed.error)}`);
      return `${JSON.stringify({ v: 1, ...parsed.data }, undefined, 2)}\n`;
    },
    decode(content) {
      const outer = envelope.safeParse(parseJson(name, content));
      if (!outer.success) throw new Error(`${name} record has no version: ${z.prettifyError(outer.error)}`);
      const { v, ...fields } = outer.data;
      if (v !== 1)
        throw new Error(`${name} record has version ${v}, this vmlet knows 1; it was written by a newer one`);
      const parsed = v1.safeParse(fields);
      if (!parsed.success) throw new Error(`${name} record is not valid: ${z.prettifyError(parsed.error)}`);
      return parsed.data;
    },
  };
}

function parseJson(name: string, content: string): unknown {
  try {
    return JSON.parse(content);
  } catch (error) {
    throw new Error(`${name} record is not JSON (cut off?)`, { cause: error });
  }
}
