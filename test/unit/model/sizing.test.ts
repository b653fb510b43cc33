import fc from "fast-check";
import { expect, test } from "vitest";
import { failsWith } from "../../../src/model/failure.ts";
import { cgroupPathOf, partitionOf, sizeMachine } from "../../../src/model/sizing.ts";

const MIB = 1 << 20;
const options = { defaultMemoryBytes: 512 * MIB, overheadBytes: 96 * MIB, minMemoryBytes: 64 * MIB };
const memoryOf = (limitMiB: number | undefined, overheadMiB?: number): number =>
  sizeMachine(
    {
      resources: limitMiB === undefined ? {} : { memoryLimitBytes: limitMiB * MIB },
      overhead: overheadMiB === undefined ? {} : { memoryLimitBytes: overheadMiB * MIB },
    },
    options,
  ).memoryBytes / MIB;

test.each([
  [undefined, undefined, 512],
  [512, undefined, 416],
  [512, 32, 448],
  [512, 96, 512],
  [512, 500, 512],
  [200.5, 96, 200],
  [160, undefined, 64],
])("a limit of %s MiB with an overhead of %s MiB gives the guest %i MiB", (limit, overhead, guest) => {
  expect(memoryOf(limit, overhead)).toBe(guest);
});

test("a limit that leaves too little for a guest is refused, naming the overhead that would cover QEMU", () => {
  for (const limit of [0, 1, 64, 159]) {
    expect(() => memoryOf(limit)).toThrow(/overhead\.podFixed\.memory to 96Mi/);
  }
  expect(() => memoryOf(63, 96)).toThrow(/64Mi are the least/);
});

test("guest and QEMU together never need more than limit and overhead, and a guest has whole MiB", () => {
  fc.assert(
    fc.property(fc.nat(2 ** 34), fc.nat(2 ** 28), (memoryLimitBytes, overheadBytes) => {
      const request = { resources: { memoryLimitBytes }, overhead: { memoryLimitBytes: overheadBytes } };
      try {
        const { memoryBytes } = sizeMachine(request, options);
        expect(memoryBytes % MIB).toBe(0);
        expect(memoryBytes).toBeLessThanOrEqual(memoryLimitBytes);
        expect(memoryBytes + options.overheadBytes).toBeLessThanOrEqual(
          memoryLimitBytes + Math.max(overheadBytes, options.overheadBytes),
        );
      } catch (error) {
        if (!failsWith(error, "SPEC_INVALID")) throw error;
      }
    }),
  );
});

const cpuOf = (resources: Parameters<typeof sizeMachine>[0]["resources"]) =>
  sizeMachine({ resources, overhead: {} }, options).cpu;

test.each([
  [{}, 1],
  [{ cpuQuotaUs: -1, cpuPeriodUs: 100_000 }, 1],
  [{ cpuQuotaUs: 10_000, cpuPeriodUs: 100_000 }, 1],
  [{ cpuQuotaUs: 100_000, cpuPeriodUs: 100_000 }, 1],
  [{ cpuQuotaUs: 150_000, cpuPeriodUs: 100_000 }, 2],
  [{ cpuQuotaUs: 150_000 }, 2],
  [{ cpuQuotaUs: 1e9, cpuPeriodUs: 1000 }, 255],
])("a CPU limit of %o gives %i vCPUs", (resources, count) => expect(cpuOf(resources).count).toBe(count));

test.each([
  [{ cpuQuotaUs: -1, cpusetCpus: "2-3,5,8" }, 4],
  [{ cpuQuotaUs: -1, cpusetCpus: "7" }, 1],
  [{ cpuQuotaUs: -1, cpusetCpus: "0-999" }, 255],
  [{ cpusetCpus: "0-7" }, 1], // those that it shares with others
])("CPUs of its own, %o, are %i vCPUs: for them the kubelet takes the quota away", (resources, count) => {
  expect(cpuOf(resources)).toMatchObject({ count, cpuset: resources.cpusetCpus });
});

test("shares, the quota of the whole machine and the CPU set are passed on", () => {
  const resources = { cpuQuotaUs: 150_000, cpuPeriodUs: 100_000, cpuShares: 512, cpusetCpus: "0-1,3" };
  expect(cpuOf(resources)).toEqual({ count: 2, shares: 512, periodUs: 100_000, quotaUs: 150_000, cpuset: "0-1,3" });
});

test.each(["all", "0-", "0 1", "1;2", "^1", "0\n", "0,5-2"])("a CPU set that is none is refused: %j", (cpusetCpus) => {
  expect(() => cpuOf({ cpusetCpus })).toThrow("cpuset_cpus");
});

test.each([
  [{ cpuPeriodUs: -5, cpuQuotaUs: 50_000 }, "cpu_period: -5 is not from 1000 to 1000000 microseconds"],
  [{ cpuPeriodUs: 2_000_000 }, "cpu_period: 2000000 is not from 1000 to 1000000 microseconds"],
  [{ cpuQuotaUs: 999 }, "cpu_quota: 999 is not from 1000 to 17592186044415 microseconds; -1 is no limit"],
  [{ cpuQuotaUs: Number.MAX_SAFE_INTEGER }, "cpu_quota: 9007199254740991 is not from 1000 to 17592186044415"],
  [{ cpuShares: -1 }, "cpu_shares: -1 is not from 0"],
])("CPU limits that no machine can have are refused by name: %o", (resources, message) => {
  expect(() => cpuOf(resources)).toThrow(`config.linux.resources.${message}`);
});

const exists = () => true;

test.each([
  [
    "kubepods-burstable-pod6a1b_8ab0.slice",
    "/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod6a1b_8ab0.slice",
  ],
  ["/kubepods.slice/kubepods-podx.slice", "/kubepods.slice/kubepods-podx.slice"],
])("without machined a slice is spelled as its path: %s", (parent, partition) => {
  expect(partitionOf(parent, { hasMachined: false, exists })).toBe(partition);
  expect(partitionOf(parent, { hasMachined: false, exists: () => false })).toBeUndefined();
});

test.each(["kubepods-burstable-pod6a1b_8ab0.slice", "/kubepods.slice/x.slice/kubepods-burstable-pod6a1b_8ab0.slice"])(
  "with machined a slice is spelled by its components: %s",
  (parent) => expect(partitionOf(parent, { hasMachined: true, exists })).toBe("/kubepods/burstable/pod6a1b_8ab0"),
);

test.each(["", "/", "/kubepods/burstable/pod6a1b", "../x.slice", "a b.slice", "/x.slice\n", "a.slice/../b.slice"])(
  "what libvirt cannot be told leaves its default: %j",
  (parent) => {
    expect(partitionOf(parent, { hasMachined: true, exists })).toBeUndefined();
    expect(partitionOf(parent, { hasMachined: false, exists })).toBeUndefined();
  },
);

test.each([
  ["kubepods-podx_1.slice", "/kubepods.slice/kubepods-podx_1.slice"],
  ["/kubepods.slice/kubepods-podx.slice", "/kubepods.slice/kubepods-podx.slice"],
  ["/kubepods/burstable/pod6a1b", "/kubepods/burstable/pod6a1b"],
  ["pod6a1b", "/pod6a1b"],
])("a pod's cgroup has one path, whoever spelled it: %s", (parent, path) => {
  expect(cgroupPathOf(parent)).toBe(path);
});

test.each(["", "/", "../x", "/x/..", "a b", "/x\n"])("what is no path of a cgroup is none: %j", (parent) => {
  expect(cgroupPathOf(parent)).toBeUndefined();
});

test("a slice with dashes without end takes no time to be none", () => {
  expect(cgroupPathOf(`${"-".repeat(30_000)}.slice`)).toBeUndefined();
});
