// What is known of a domain of ours when a person changes its definition.

import { expect, test } from "vitest";
import type { LibvirtClient } from "../../../src/libvirt/client/client.ts";
import type { DomainEvent } from "../../../src/libvirt/client/messages.ts";
import { LIFECYCLE } from "../../../src/libvirt/conditions.ts";
import { METADATA_NAMESPACE } from "../../../src/libvirt/domain-xml.ts";
import { OwnDomains } from "../../../src/libvirt/ours.ts";
import { newMachineId, newPodId, uuidOf } from "../../../src/model/ids.ts";

const UPDATED = 1;

function known() {
  const [machineId, podId] = [newMachineId(), newPodId()];
  const ref = { name: "vm", uuid: uuidOf(machineId), id: 1 };
  const metadata = `<v:machine xmlns:v="${METADATA_NAMESPACE}" id="${machineId}"><v:pod id="${podId}"/></v:machine>`;
  const libvirt = { metadata };
  const call = async () => ({
    xml: `<domain><uuid>${ref.uuid}</uuid><metadata>${libvirt.metadata}</metadata></domain>`,
  });
  const domains = new OwnDomains({ call } as unknown as LibvirtClient);
  domains.add({ machineId, podId }, ref);
  const note = (event: number, detail: number) =>
    domains.note({ type: "lifecycle", callbackId: 0, domain: ref, event, detail } satisfies DomainEvent);
  return { domains, libvirt, ref, note };
}

test("whose it is is asked again, and what was seen of its run is still known", async () => {
  const { domains, ref, note } = known();
  note(LIFECYCLE.started, 0);
  note(LIFECYCLE.resumed, 0);
  const before = await domains.recognise(ref);
  if (before === undefined) throw new Error("not ours");
  before.lastPid = 4711;
  note(LIFECYCLE.defined, UPDATED);
  expect(domains.known(ref.uuid)).toBeUndefined();
  expect(await domains.recognise(ref)).toMatchObject({ hasRun: true, isFresh: false, lastPid: 4711 });
});

test("one whose metadata was taken away is ours no more", async () => {
  const { domains, libvirt, ref, note } = known();
  libvirt.metadata = "";
  note(LIFECYCLE.defined, UPDATED);
  expect(await domains.recognise(ref)).toBeUndefined();
});
