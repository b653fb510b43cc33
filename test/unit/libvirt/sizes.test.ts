import { expect, test } from "vitest";
import { cpumapOf, namingField } from "../../../src/libvirt/cputune.ts";
import { sizesOf } from "../../../src/libvirt/sizes.ts";
import { VmletError } from "../../../src/model/failure.ts";
import type { MachineId } from "../../../src/model/ids.ts";

const machineId = "a".repeat(64) as MachineId;
const ours = "00000000-0000-4000-8000-000000000001";
const theirs = "00000000-0000-4000-8000-000000000002";
const known = (uuid: string): MachineId | undefined => (uuid === ours ? machineId : undefined);

function record(figures: Readonly<Record<string, number | bigint>>, { uuid = ours, id = 7 } = {}) {
  const params = Object.entries(figures).map(([field, value]) => ({
    field,
    value: { type: "ullong", value: BigInt(value) } as const,
  }));
  return { domain: { name: "vm", uuid, id }, params };
}

const PLAIN = { "vcpu.current": 2, "balloon.maximum": 262_144, "balloon.current": 131_072 };
const SAID = { "balloon.available": 200_000, "balloon.unused": 50_000, "balloon.last-update": 1_700_000_000 };

test("what libvirt was asked for is told in bytes, with the guest's own word where it gave one", () => {
  const size = { vcpus: 2, maxMemoryBytes: 1 << 28, memoryBytes: 1 << 27 };
  expect(sizesOf([record(PLAIN)], known)).toEqual(new Map([[machineId, size]]));
  const guest = { atMs: 1_700_000_000_000, totalBytes: 204_800_000, freeBytes: 51_200_000 };
  expect(sizesOf([record({ ...PLAIN, ...SAID })], known)).toEqual(new Map([[machineId, { ...size, guest }]]));
  const more = record({ ...PLAIN, ...SAID, "balloon.usable": 100_000 });
  expect(sizesOf([more], known).get(machineId)?.guest).toEqual({ ...guest, availableBytes: 102_400_000 });
});

test("a domain that is off or somebody else's has no size, and a guest that lies has said nothing", () => {
  expect(sizesOf([record(PLAIN, { id: -1 }), record(PLAIN, { uuid: theirs })], known)).toEqual(new Map());
  const lie = record({ ...PLAIN, ...SAID, "balloon.unused": 2n ** 64n - 1n });
  expect(sizesOf([lie], known).get(machineId)).not.toHaveProperty("guest");
});

test("a list of CPUs is a bit for each", () => {
  expect([...cpumapOf("0")]).toEqual([0b1]);
  expect([...cpumapOf("0-2,5")]).toEqual([0b100111]);
  expect([...cpumapOf("9,7-8")]).toEqual([0b1000_0000, 0b11]);
});

test("a set that the node has not is the caller's mistake, by its field; any other failure stays what it is", async () => {
  const refused = (libvirtCode: number) => async () => {
    const failure = { code: "HYPERVISOR_FAILED", procedure: "PIN", libvirtCode, libvirtDomain: 10 } as const;
    throw new VmletError(failure, "failed to set cpuset.cpus");
  };
  await expect(namingField("linux.cpuset_cpus", "900", refused(55))).rejects.toMatchObject({
    failure: { code: "SPEC_INVALID", field: "linux.cpuset_cpus" },
    message: 'linux.cpuset_cpus: "900" is not what this node can give: failed to set cpuset.cpus',
  });
  await expect(namingField("linux.cpuset_cpus", "0", refused(1))).rejects.toMatchObject({
    failure: { code: "HYPERVISOR_FAILED" },
  });
  await namingField("linux.cpuset_cpus", undefined, refused(55)); // nothing was said
});
