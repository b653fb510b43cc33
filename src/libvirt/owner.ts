// Which machine of which pod a domain is, by what its metadata says.

import { isPodId, type MachineId, type PodId } from "../model/ids.ts";
import { METADATA_NAMESPACE, machineIdOfDomainXml } from "./domain-xml.ts";
import { child, parseXml, type XmlElement } from "./xml.ts";

export interface DomainOwner {
  readonly machineId: MachineId;
  readonly podId: PodId;
}

/** undefined for every domain that is not ours, however broken. */
export function ownerOfDomainXml(xml: string): DomainOwner | undefined {
  if (!xml.includes(METADATA_NAMESPACE)) return undefined; // most foreign domains need no parser
  const machineId = machineIdOfDomainXml(xml);
  if (machineId === undefined) return undefined;
  const metadata = child(parseXml(xml), "metadata");
  const podId = metadata && ours(ours(metadata, "machine"), "pod")?.attributes["id"];
  return podId !== undefined && isPodId(podId) ? { machineId, podId } : undefined;
}

function ours(parent: XmlElement | undefined, localName: string): XmlElement | undefined {
  return parent?.children.find((each) => each.namespace === METADATA_NAMESPACE && each.localName === localName);
}
