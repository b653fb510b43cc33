// What libvirt's bulk statistics tell of vCPUs and of the balloon.

import type { MachineId } from "../model/ids.ts";
import type { GuestMemory, MachineSize } from "../ports/hypervisor.ts";
import type { procedures, TypedParam } from "./client/messages.ts";
import type { ValueOf } from "./client/xdr.ts";

type Records = ValueOf<(typeof procedures)["getAllDomainStats"]["reply"]>["records"];

const STATS_BALLOON = 1 << 2;
const STATS_VCPU = 1 << 3;
/** A QEMU that is busy with another call is not waited for. */
const NOWAIT = 1 << 29;

export const SIZE_STATS = { stats: STATS_BALLOON | STATS_VCPU, flags: NOWAIT } as const;

/** Of those that are on and ours: one that is off has no current vCPUs, and no balloon. */
export function sizesOf(
  records: Records,
  machineIdOf: (uuid: string) => MachineId | undefined,
): ReadonlyMap<MachineId, MachineSize> {
  const sizes = new Map<MachineId, MachineSize>();
  for (const { domain, params } of records) {
    const machineId = machineIdOf(domain.uuid);
    const size = domain.id < 0 ? undefined : sizeOf(params);
    if (machineId !== undefined && size !== undefined) sizes.set(machineId, size);
  }
  return sizes;
}

function sizeOf(params: readonly TypedParam[]): MachineSize | undefined {
  const value = numbersOf(params);
  const vcpus = value("vcpu.current");
  const [maxMemoryBytes, memoryBytes] = [bytes(value("balloon.maximum")), bytes(value("balloon.current"))];
  if (vcpus === undefined || maxMemoryBytes === undefined || memoryBytes === undefined) return undefined;
  const guest = guestMemoryOf(value);
  return { vcpus, maxMemoryBytes, memoryBytes, ...(guest === undefined ? {} : { guest }) };
}

/** A guest may say anything: what no memory can be is left out. */
function guestMemoryOf(value: (field: string) => number | undefined): GuestMemory | undefined {
  const atSeconds = value("balloon.last-update");
  const [totalBytes, freeBytes] = [bytes(value("balloon.available")), bytes(value("balloon.unused"))];
  if (!atSeconds || totalBytes === undefined || freeBytes === undefined) return undefined;
  const availableBytes = bytes(value("balloon.usable"));
  return {
    atMs: atSeconds * 1_000,
    totalBytes,
    freeBytes,
    ...(availableBytes === undefined ? {} : { availableBytes }),
  };
}

function numbersOf(params: readonly TypedParam[]): (field: string) => number | undefined {
  const numbers = new Map(params.map(({ field, value }) => [field, Number(value.value)]));
  return (field) => {
    const number = numbers.get(field);
    return number !== undefined && Number.isSafeInteger(number) && number >= 0 ? number : undefined;
  };
}

function bytes(kib: number | undefined): number | undefined {
  const count = kib === undefined ? undefined : kib * 1024;
  return Number.isSafeInteger(count) ? count : undefined;
}
