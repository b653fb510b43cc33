import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import { resolveVirtualization } from "../../../src/libvirt/virtualization.ts";

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
  expect(await resolveVirtualization("kvm", { kvmPath: "/nowhere" })).toBe("kvm");
  expect(await resolveVirtualization("emulated")).toBe("emulated");
});
