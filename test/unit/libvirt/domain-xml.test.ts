import { readFileSync } from "node:fs";
import fc from "fast-check";
import { expect, test } from "vitest";
import { METADATA_NAMESPACE, machineIdOfDomainXml, renderDomain } from "../../../src/libvirt/domain-xml.ts";
import {
  type DomainTemplate,
  deviceOf,
  devicesOf,
  optionalDeviceOf,
  parseTemplate,
} from "../../../src/libvirt/template.ts";
import { child, parseXml, type XmlElement } from "../../../src/libvirt/xml.ts";
import { uuidOf } from "../../../src/model/ids.ts";
import type { MachinePlan } from "../../../src/model/machine-plan.ts";
import { somePlan } from "../../fakes/plans.ts";

const text = readFileSync("domain-templates/linux.xml", "utf8");
const template = parseTemplate("linux.xml", text);
const emulated = { virtualization: "emulated", tcgCacheMiB: 64 } as const;

function rendered(plan: MachinePlan, from = template, options: Parameters<typeof renderDomain>[2] = emulated) {
  const xml = renderDomain(plan, from, options);
  const domain = parseXml(xml);
  const copy: DomainTemplate = { path: "rendered", domain };
  const role = (name: Parameters<typeof deviceOf>[1]): XmlElement => deviceOf(copy, name);
  return { xml, domain, role, ssh: optionalDeviceOf(copy, "ssh") };
}

function at(parent: XmlElement, ...path: readonly string[]): XmlElement {
  return path.reduce((from, name) => {
    const found = child(from, name);
    if (found === undefined) throw new Error(`no <${name}> in <${from.name}>`);
    return found;
  }, parent);
}

test("who the machine is stands in its name, uuid, title, description and metadata", () => {
  const plan = somePlan();
  const { domain } = rendered(plan);
  expect(at(domain, "name").text).toBe(plan.domainName);
  expect(at(domain, "uuid").text).toBe(uuidOf(plan.machineId));
  expect(at(domain, "title").text).toBe("default/web");
  expect(at(domain, "description").text).toBe(plan.description);
  const machine = at(domain, "metadata", "vmlet:machine");
  expect(machine.namespace).toBe(METADATA_NAMESPACE);
  expect(at(machine, "vmlet:pod").attributes).toEqual({
    id: plan.podId,
    namespace: "default",
    name: "web",
    uid: plan.metadata.podUid,
  });
  expect(at(machine, "vmlet:image").attributes["digest"]).toBe(plan.metadata.imageDigest);
});

test("memory, vCPUs, limits of the whole machine and the pod's cgroup are the plan's", () => {
  const { domain } = rendered(somePlan());
  expect(at(domain, "memory")).toMatchObject({ text: "131072", attributes: { unit: "KiB" } });
  expect(at(domain, "currentMemory").text).toBe("131072");
  expect(at(domain, "vcpu")).toMatchObject({ text: "2", attributes: { cpuset: "0-1" } });
  const tune = at(domain, "cputune").children.map(({ name, text: value }) => [name, value]);
  expect(tune).toEqual([
    ["shares", "204"],
    ["global_period", "100000"],
    ["global_quota", "150000"],
  ]);
  expect(at(domain, "numatune", "memory").attributes).toEqual({ mode: "restrictive", nodeset: "0" });
  expect(at(domain, "resource", "partition").text).toBe("/kubepods/burstable");
});

test("what the plan does not limit is not limited, and without a partition libvirt's default stays", () => {
  const { partition: _, ...plan } = somePlan({ cpu: { count: 1, periodUs: 100_000, quotaUs: -1 } });
  const { domain } = rendered(plan);
  expect(child(domain, "cputune")).toBeUndefined();
  expect(child(domain, "resource")).toBeUndefined();
  expect(child(domain, "numatune")).toBeUndefined();
  expect(at(domain, "vcpu").attributes).toEqual({ placement: "static" });
});

test("the base image is named in full and never relabelled; the overlay is qcow2 and discards", () => {
  const disk = rendered(somePlan()).role("root");
  expect(at(disk, "driver").attributes).toMatchObject({ type: "qcow2", discard: "unmap" });
  expect(at(disk, "source").attributes["file"]).toBe("/var/lib/vmlet/m/disk.qcow2");
  const backing = at(disk, "backingStore");
  expect(at(backing, "format").attributes["type"]).toBe("qcow2");
  expect(at(backing, "source").attributes["file"]).toBe("/var/lib/vmlet/images/a");
  expect(at(backing, "source", "seclabel").attributes).toEqual({ model: "dac", relabel: "no" });
  expect(at(backing, "backingStore").children).toEqual([]);
});

test("the machine has the pod's MAC and MTU on a tap that libvirt makes, and no script", () => {
  const nic = rendered(somePlan()).role("nic");
  expect(at(nic, "mac").attributes["address"]).toBe("0a:58:0a:58:00:05");
  expect(at(nic, "target").attributes).toEqual({ dev: "vm0123456789ab" });
  expect(at(nic, "mtu").attributes["size"]).toBe("1450");
  expect(child(nic, "script")).toBeUndefined();
});

test("QEMU itself appends console and init report to their files, and VNC listens on a socket only", () => {
  const { role, domain } = rendered(somePlan());
  expect(at(role("console"), "log").attributes).toEqual({ file: "/var/lib/vmlet/m/console", append: "on" });
  expect(at(role("console"), "source").attributes).toEqual({ mode: "bind", path: "/run/vmlet/m/console.sock" });
  expect(at(role("initReport"), "source").attributes).toEqual({ path: "/var/lib/vmlet/m/init-report", append: "on" });
  expect(at(role("seed"), "source").attributes["file"]).toBe("/var/lib/vmlet/m/seed.iso");
  const vnc = devicesOf(domain).filter(({ name }) => name === "graphics");
  expect(vnc.map((each) => at(each, "listen").attributes)).toEqual([
    { type: "socket", socket: "/run/vmlet/m/vnc.sock" },
  ]);
});

test("the port of ssh is a socket of the machine's own, and is not there where the machine shall have none", () => {
  const { ssh } = rendered(somePlan());
  expect(ssh && at(ssh, "source").attributes).toEqual({ mode: "bind", path: "/run/vmlet/m/ssh.sock" });
  const { sshSocketPath: _, ...without } = somePlan();
  const { domain, ssh: none } = rendered(without);
  expect(none).toBeUndefined();
  expect(devicesOf(domain).filter(({ name }) => name === "channel")).toHaveLength(2);
});

test("a template without the port of ssh is one that gives no port", () => {
  const old = parseTemplate("old.xml", text.replace("ua-vmlet-ssh", "ua-mine"));
  expect(rendered(somePlan(), old).xml).not.toContain("/run/vmlet/m/ssh.sock");
});

test.each(["file", "pty"])("a template whose console is of type %s keeps it, and all output is in the file", (type) => {
  const own = text
    .replace('<serial type="unix">', `<serial type="${type}">`)
    .replace(/<source mode="bind" path="[^"]*console.sock"\/>/, "");
  const serial = rendered(somePlan(), parseTemplate("own.xml", own)).role("console");
  const written = type === "file" ? at(serial, "source").attributes["path"] : at(serial, "log").attributes["file"];
  expect([serial.attributes["type"], written]).toEqual([type, "/var/lib/vmlet/m/console"]);
  if (type === "pty") expect(child(serial, "source")).toBeUndefined();
});

test("emulated machines cap QEMU's translation cache, machines on KVM get the host's processor", () => {
  const slow = rendered(somePlan()).domain;
  expect(slow.attributes["type"]).toBe("qemu");
  expect(at(slow, "features", "tcg", "tb-cache")).toMatchObject({ text: "64", attributes: { unit: "MiB" } });
  const fast = rendered(somePlan(), template, { virtualization: "kvm", tcgCacheMiB: 64 }).domain;
  expect(fast.attributes["type"]).toBe("kvm");
  expect(at(fast, "cpu").attributes["mode"]).toBe("host-passthrough");
  expect(child(at(fast, "features"), "tcg")).toBeUndefined();
  expect(child(at(fast, "features"), "acpi")).toBeDefined();
});

test("what an admin adds to a template stays, and the template itself is not changed by rendering", () => {
  const more = text
    .replace("<devices>", '<devices><watchdog model="i6300esb" action="reset"/>')
    .replace("<memory ", '<metadata><a:b xmlns:a="urn:x">kept</a:b></metadata><memory ');
  const admin = parseTemplate("admin.xml", more);
  const before = JSON.stringify(admin.domain);
  const { domain } = rendered(somePlan(), admin);
  expect(devicesOf(domain).some(({ name }) => name === "watchdog")).toBe(true);
  expect(at(domain, "metadata", "a:b")).toMatchObject({ text: "kept", namespace: "urn:x" });
  expect(JSON.stringify(admin.domain)).toBe(before);
});

const isLegal = (each: string): boolean => {
  const code = each.codePointAt(0) ?? 0;
  const isSurrogate = code >= 0xd800 && code <= 0xdfff;
  return "\t\n\r".includes(each) || (code >= 0x20 && !isSurrogate && code !== 0xfffe && code !== 0xffff);
};

test("no value of a plan adds an element, and what XML can carry arrives unchanged", () => {
  const anything = fc.oneof(
    fc.string({ unit: "binary", maxLength: 60 }),
    fc.constantFrom(
      "]]>",
      '"/><disk/>',
      "</title><devices/>",
      "&lt;&amp;&#10;",
      "a\r\nb\tc",
      "\u0000\u001b[2J",
      "\ud800x",
    ),
  );
  const shape = (each: XmlElement): unknown => [each.name, each.children.map(shape)];
  const usual = shape(rendered(somePlan()).domain);
  fc.assert(
    fc.property(anything, anything, (one, two) => {
      const usualPlan = somePlan();
      const metadata = { ...usualPlan.metadata, container: one, image: two };
      const { domain } = rendered(somePlan({ title: `t${one}`, description: two, metadata }));
      expect(shape(domain)).toEqual(usual);
      const container = at(domain, "metadata", "vmlet:machine", "vmlet:container").attributes["name"];
      expect(container).toBe(Array.from(one, (each) => (isLegal(each) ? each : "\uFFFD")).join(""));
      expect(at(domain, "title").text).not.toMatch(/[\n\r]/);
    }),
  );
});

test.each(["a\nb", "a\u0000b", "a\ud800"])("a path that no XML can carry is refused, naming the field: %j", (path) => {
  const render = (): string => renderDomain(somePlan({ seedPath: path }), template, emulated);
  expect(render).toThrow(/^seedPath: /);
});

test("a domain is ours by the metadata that we wrote, as long as its uuid is the machine's", () => {
  const plan = somePlan();
  const { xml } = rendered(plan);
  expect(machineIdOfDomainXml(xml)).toBe(plan.machineId);
  expect(machineIdOfDomainXml(xml.replaceAll("vmlet:", "x:").replaceAll("xmlns:vmlet", "xmlns:x"))).toBe(
    plan.machineId,
  );
  expect(
    machineIdOfDomainXml(xml.replace(uuidOf(plan.machineId), uuidOf(plan.machineId).replace("0", "1"))),
  ).toBeUndefined();
  expect(machineIdOfDomainXml(xml.replace(METADATA_NAMESPACE, "urn:other"))).toBeUndefined();
  expect(machineIdOfDomainXml(xml.replaceAll(plan.machineId, "../../x"))).toBeUndefined();
});

test.each([
  "",
  "junk",
  "<domain>",
  "<domain/>",
  text,
  "<a>".repeat(20_000),
  `<!DOCTYPE d [<!ENTITY e "x">]><domain>&e;</domain>`,
])("a domain that is not ours has no machine id, however broken its XML is: %#", (xml) =>
  expect(machineIdOfDomainXml(xml)).toBeUndefined(),
);

test.each([
  [1, "2"],
  [1024, "1024"],
  [200_000, "10000"],
])("shares of %i are said so that libvirt takes them on either cgroup version: %s", (shares, said) => {
  const { domain } = rendered(somePlan({ cpu: { count: 1, shares } }));
  expect(at(domain, "cputune", "shares").text).toBe(said);
});
