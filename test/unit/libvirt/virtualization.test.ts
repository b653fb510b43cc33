import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import { parseConfig } from "../../../src/config/load.ts";
import { openHypervisor } from "../../../src/libvirt/adapter.ts";
import { resolveVirtualization } from "../../../src/libvirt/virtualization.ts";
import { keptLog } from "../../fakes/kept-log.ts";

let folderPath: string;
beforeAll(async () => {
  folderPath = await mkdtemp(join(tmpdir(), "vmlet-kvm-"));
});
afterAll(async () => rm(folderPath, { recursive: true }));

test.each([
  ["an x86 processor with the extension", "flags\t\t: fpu vmx sse\n", true, "kvm"],
  ["one of the other maker", "flags\t\t: fpu svm sse\n", true, "kvm"],
  ["an x86 processor without it", "flags\t\t: fpu sse\n", true, "emulated"],
  ["a processor that is no x86", "Features\t: fp asimd\n", true, "kvm"],
  ["no /dev/kvm", "flags\t\t: fpu vmx sse\n", false, "emulated"],
])("auto on %s", async (_what, cpuInfo, hasKvm, expected) => {
  const kvmPath = join(folderPath, hasKvm ? "kvm" : "none");
  const cpuInfoPath = join(folderPath, "cpuinfo");
  await writeFile(cpuInfoPath, cpuInfo);
  if (hasKvm) await writeFile(kvmPath, "");
  expect(await resolveVirtualization("auto", { kvmPath, cpuInfoPath })).toBe(expected);
});

test("what was chosen is taken unseen", async () => {
  expect(await resolveVirtualization("kvm", { kvmPath: "/nowhere", cpuInfoPath: "/nowhere" })).toBe("kvm");
  expect(await resolveVirtualization("emulated")).toBe("emulated");
});

test.each([
  ["there is no /dev/kvm", "flags\t\t: fpu vmx\n", false, /libvirt\.virtualization is kvm: ENOENT/],
  ["the processor has no extension", "flags\t\t: fpu\n", true, /libvirt\.virtualization is kvm: .*neither vmx nor svm/],
  ["all is there, it is libvirtd that is asked", "flags\t\t: fpu vmx\n", true, /libvirtd/],
])("where kvm is wanted and %s, the hypervisor's health says so", async (_what, cpuInfo, hasKvm, saying) => {
  const kvm = { kvmPath: join(folderPath, hasKvm ? "kvm" : "none"), cpuInfoPath: join(folderPath, "cpuinfo") };
  await writeFile(kvm.cpuInfoPath, cpuInfo);
  await writeFile(join(folderPath, "kvm"), "");
  const { libvirt } = parseConfig("libvirt: { virtualization: kvm }", "", []);
  const options = { ...libvirt, kvm, socketPath: join(folderPath, "no-socket"), reconnectWaitMs: 1 };
  using hypervisor = await openHypervisor(options, { log: keptLog() }, AbortSignal.timeout(10_000));
  await expect(hypervisor.probe(AbortSignal.timeout(5_000))).rejects.toThrow(saying);
});
