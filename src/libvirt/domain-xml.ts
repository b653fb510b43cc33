// A machine's plan as libvirt domain XML: the template, with what is per pod filled in.

import { invalid } from "../model/failure.ts";
import { isMachineId, type MachineId, uuidOf } from "../model/ids.ts";
import type { CpuPlan, DiskPlan, MachinePlan, NicPlan } from "../model/machine-plan.ts";
import { cputuneOf } from "./cputune.ts";
import { type DomainTemplate, deviceOf, devicesOf, optionalDeviceOf } from "./template.ts";
import { buildXml, child, element, isXmlText, legalXmlText, parseXml, setChild, type XmlElement } from "./xml.ts";

/** The namespace of our `<metadata>`: what makes a domain ours. */
export const METADATA_NAMESPACE = "https://vmlet.dev/domain/1";

export interface RenderOptions {
  readonly virtualization: "kvm" | "emulated";
  /** Cap of QEMU's translation cache, which is memory of the pod beside the guest's. Emulated machines only. */
  readonly tcgCacheMiB: number;
}

/**
 * The domain XML of `plan`. Text that a person reads has characters that XML cannot carry replaced; a name or path
 * that has one is refused, because the replaced one would be another.
 * @throws SPEC_INVALID naming the plan's field.
 */
export function renderDomain(plan: MachinePlan, template: DomainTemplate, options: RenderOptions): string {
  const domain = structuredClone(template.domain);
  const copy = { path: template.path, domain };
  fillIdentity(domain, plan);
  fillVirtualization(domain, options);
  fillMemory(domain, plan.memoryBytes);
  fillCpu(domain, plan.cpu);
  fillPartition(domain, plan.partition);

  fillRootDisk(deviceOf(copy, "root"), plan.disk);
  setSource(deviceOf(copy, "seed"), { file: exact("seedPath", plan.seedPath) });
  fillNic(deviceOf(copy, "nic"), plan.nic);
  fillConsole(deviceOf(copy, "console"), plan);
  setSource(deviceOf(copy, "initReport"), { path: exact("initReportPath", plan.initReportPath), append: "on" });
  fillSsh(copy, plan.sshSocketPath);
  fillVnc(domain, exact("vncSocketPath", plan.vncSocketPath));
  return buildXml(domain);
}

/**
 * Whose machine a domain is, by its metadata; undefined for every domain that is not ours, however broken. A copy that
 * a person made of one of ours (`virt-clone`) has another uuid, and is theirs.
 */
export function machineIdOfDomainXml(xml: string): MachineId | undefined {
  let domain: XmlElement;
  try {
    domain = parseXml(xml);
  } catch {
    return undefined;
  }
  const ours = child(domain, "metadata")?.children.find(
    (each) => each.namespace === METADATA_NAMESPACE && each.localName === "machine",
  );
  const machineId = ours?.attributes["id"];
  if (machineId === undefined || !isMachineId(machineId)) return undefined;
  return child(domain, "uuid")?.text.trim() === uuidOf(machineId) ? machineId : undefined;
}

function fillIdentity(domain: XmlElement, plan: MachinePlan): void {
  const title = legalXmlText(plan.title.replace(/\s+/g, " ")).trim(); // libvirt refuses a title of several lines
  setChild(domain, "name", element("name", {}, exact("domainName", plan.domainName)));
  setChild(domain, "uuid", element("uuid", {}, uuidOf(plan.machineId)));
  setChild(domain, "title", title === "" ? undefined : element("title", {}, title));
  setChild(domain, "description", element("description", {}, legalXmlText(plan.description)));
  const others = (child(domain, "metadata")?.children ?? []).filter((each) => each.namespace !== METADATA_NAMESPACE);
  setChild(domain, "metadata", element("metadata", {}, [...others, metadataOf(plan)]));
}

function metadataOf({ machineId, podId, metadata }: MachinePlan): XmlElement {
  const pod = { id: podId, namespace: metadata.namespace, name: metadata.pod, uid: metadata.podUid };
  const image = { name: metadata.image, digest: metadata.imageDigest };
  return element("vmlet:machine", { "xmlns:vmlet": METADATA_NAMESPACE, id: machineId }, [
    element("vmlet:pod", legalValues(pod)),
    element("vmlet:container", legalValues({ name: metadata.container })),
    element("vmlet:image", legalValues(image)),
  ]);
}

function fillVirtualization(domain: XmlElement, { virtualization, tcgCacheMiB }: RenderOptions): void {
  const isKvm = virtualization === "kvm";
  domain.attributes["type"] = isKvm ? "kvm" : "qemu";
  setChild(domain, "cpu", isKvm ? element("cpu", { mode: "host-passthrough", check: "none" }) : emulatedCpu());
  const features = child(domain, "features") ?? element("features");
  const cache = element("tb-cache", { unit: "MiB" }, String(tcgCacheMiB));
  setChild(features, "tcg", isKvm ? undefined : element("tcg", {}, [cache]));
  setChild(domain, "features", features);
}

/** All that QEMU can emulate, but for five-level page tables, which only make every page walk of a guest longer. */
function emulatedCpu(): XmlElement {
  return element("cpu", { mode: "maximum", check: "none" }, [element("feature", { policy: "disable", name: "la57" })]);
}

function fillMemory(domain: XmlElement, memoryBytes: number): void {
  const memoryKiB = String(Math.floor(memoryBytes / 1024));
  setChild(domain, "memory", element("memory", { unit: "KiB" }, memoryKiB));
  setChild(domain, "currentMemory", element("currentMemory", { unit: "KiB" }, memoryKiB));
}

function fillCpu(domain: XmlElement, cpu: CpuPlan): void {
  const { count, cpuset, memoryNodes } = cpu;
  const pinned = cpuset === undefined || cpuset === "" ? {} : { cpuset };
  setChild(domain, "vcpu", element("vcpu", { placement: "static", ...pinned }, String(count)));
  const { shares, globalPeriod, globalQuota } = cputuneOf(cpu);
  const limits = { shares, global_period: globalPeriod, global_quota: globalQuota };
  const cputune = child(domain, "cputune") ?? element("cputune");
  for (const [name, value] of Object.entries(limits)) {
    setChild(cputune, name, value === undefined ? undefined : element(name, {}, String(value)));
  }
  setChild(domain, "cputune", cputune.children.length === 0 ? undefined : cputune);
  if (memoryNodes === undefined) return;
  // By the cgroup alone, so that it can be another set while the machine runs.
  const placed = element("memory", { mode: "restrictive", nodeset: memoryNodes });
  setChild(domain, "numatune", element("numatune", {}, [placed]));
}

function fillPartition(domain: XmlElement, partition: string | undefined): void {
  if (partition === undefined) return setChild(domain, "resource", undefined);
  setChild(domain, "resource", element("resource", {}, [element("partition", {}, exact("partition", partition))]));
}

function fillRootDisk(disk: XmlElement, { overlayPath, base }: DiskPlan): void {
  const driver = child(disk, "driver") ?? element("driver");
  setChild(disk, "driver", element("driver", { ...driver.attributes, name: "qemu", type: "qcow2" }));
  setSource(disk, { file: exact("disk.overlayPath", overlayPath) });
  // Said in full, so that libvirt probes nothing; and the base is shared: without relabel="no" libvirt would give it to
  // the QEMU user, who could then change it for every pod.
  const shared = element("source", { file: exact("disk.base.path", base.path) }, [
    element("seclabel", { model: "dac", relabel: "no" }),
  ]);
  setChild(
    disk,
    "backingStore",
    element("backingStore", { type: "file" }, [
      element("format", { type: base.format }),
      shared,
      element("backingStore"),
    ]),
  );
}

function fillNic(nic: XmlElement, { tapName, mac, mtu }: NicPlan): void {
  setChild(nic, "mac", element("mac", { address: exact("nic.mac", mac) }));
  setChild(nic, "target", element("target", { dev: exact("nic.tapName", tapName) }));
  setChild(nic, "mtu", element("mtu", { size: String(mtu) }));
  setChild(nic, "script", undefined); // QEMU's user runs nothing on the host
}

/** All output is in the file, whichever type it is: written there by QEMU, beside what reads and types, if anything. */
function fillConsole(serial: XmlElement, { consoleFilePath, consoleSocketPath }: MachinePlan): void {
  const file = exact("consoleFilePath", consoleFilePath);
  if (serial.attributes["type"] === "file") return setSource(serial, { path: file, append: "on" });
  if (serial.attributes["type"] === "unix")
    setSource(serial, { mode: "bind", path: exact("consoleSocketPath", consoleSocketPath) });
  setChild(serial, "log", element("log", { file, append: "on" }));
}

/** A template without the port, and a machine that shall have none, have none. */
function fillSsh(template: DomainTemplate, socketPath: string | undefined): void {
  const channel = optionalDeviceOf(template, "ssh");
  if (channel === undefined) return;
  if (socketPath !== undefined) return setSource(channel, { mode: "bind", path: exact("sshSocketPath", socketPath) });
  const devices = child(template.domain, "devices");
  if (devices !== undefined) devices.children = devices.children.filter((each) => each !== channel);
}

function fillVnc(domain: XmlElement, socketPath: string): void {
  const vnc = devicesOf(domain).find((each) => each.name === "graphics" && each.attributes["type"] === "vnc");
  if (vnc === undefined) return; // a template without a screen
  for (const network of ["port", "autoport", "websocket", "listen", "socket"]) delete vnc.attributes[network];
  setChild(vnc, "listen", element("listen", { type: "socket", socket: socketPath }));
}

function setSource(device: XmlElement, attributes: Record<string, string>): void {
  setChild(device, "source", element("source", attributes));
}

function exact(field: string, value: string): string {
  if (isXmlText(value) && !/[\n\r]/.test(value)) return value;
  throw invalid(field, `has characters that no domain XML can carry: ${JSON.stringify(value.slice(0, 200))}`);
}

function legalValues(values: Readonly<Record<string, string>>): Record<string, string> {
  return Object.fromEntries(Object.entries(values).map(([name, value]) => [name, legalXmlText(value)]));
}
