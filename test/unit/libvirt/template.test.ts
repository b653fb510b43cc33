import { mkdtempDisposable, symlink, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect, test } from "vitest";
import { deviceOf, loadTemplate } from "../../../src/libvirt/template.ts";
import { failsWith } from "../../../src/model/failure.ts";

const signal = AbortSignal.timeout(10_000);
const shipped = await loadTemplate("domain-templates", "linux", signal);

test("the shipped template plays every role", () => {
  expect(shipped.path).toBe("domain-templates/linux.xml");
  expect(deviceOf(shipped, "root").name).toBe("disk");
});

const device = (alias: string, open: string): string => `<${open}><alias name="${alias}"/></${open.split(" ")[0]}>`;
const ALL = [
  device("ua-vmlet-root", 'disk type="file"'),
  device("ua-vmlet-seed", 'disk type="file"'),
  device("ua-vmlet-nic", 'interface type="ethernet"'),
  device("ua-vmlet-console", 'serial type="file"'),
  device("ua-vmlet-init", 'channel type="file"'),
].join("");

test.each([
  ["", "there is no element"],
  ["VM: linux", "not valid XML"],
  ["<domain><devices>", "not valid XML"],
  ["<network/>", "<network>, not <domain>"],
  ["<domain/>", "ua-vmlet-root"],
  [`<domain><devices>${ALL}${device("ua-vmlet-ssh", 'channel type="pty"')}</devices></domain>`, 'type="pty"'],
  [`<domain><devices>${ALL.replace("ua-vmlet-init", "ua-x")}</devices></domain>`, "ua-vmlet-init"],
  [`<domain><devices>${ALL}${ALL}</devices></domain>`, "more than one"],
  [`<domain><devices>${ALL.replace('"ethernet"', '"network"')}</devices></domain>`, 'type="network"'],
  [`<domain>${"<a>".repeat(1000)}${"</a>".repeat(1000)}</domain>`, "nested"],
  [`<domain><os qemu:x="1"/></domain>`, "not valid XML"],
  [`<!--${"x".repeat(300_000)}--><domain/>`, "300016 bytes"],
])("a template that cannot be used is refused with its path and the reason, case %#", async (content, why) => {
  await using folder = await mkdtempDisposable(join(tmpdir(), "vmlet-"));
  const path = join(folder.path, "mine.xml");
  await writeFile(path, content);
  const error: unknown = await loadTemplate(folder.path, "mine", signal).catch((thrown: unknown) => thrown);
  if (!failsWith(error, "TEMPLATE_INVALID")) throw error;
  expect(error.failure.path).toBe(path);
  expect(error.message).toContain(path);
  expect(error.message).toContain(why);
});

test.each(["../linux", "linux.xml", "", ".", "a/b", "A", "x\0", "-a", "x".repeat(64)])(
  "a name that is not a plain file name is refused before anything is opened: %j",
  async (name) => {
    const error: unknown = await loadTemplate("domain-templates", name, signal).catch((thrown: unknown) => thrown);
    expect(failsWith(error, "SPEC_INVALID")).toBe(true);
  },
);

test("a template that does not exist is the pod's mistake, and the message says which there are", async () => {
  const error: unknown = await loadTemplate("domain-templates", "windows", signal).catch((thrown: unknown) => thrown);
  if (!failsWith(error, "SPEC_INVALID")) throw error;
  expect(error.message).toContain("there are: linux");
});

test("a template that is a device or never ends does not hang", async () => {
  await using folder = await mkdtempDisposable(join(tmpdir(), "vmlet-"));
  await symlink("/dev/zero", join(folder.path, "zero.xml"));
  const error: unknown = await loadTemplate(folder.path, "zero", signal).catch((thrown: unknown) => thrown);
  expect(failsWith(error, "TEMPLATE_INVALID")).toBe(true);
});
