import { expect, test } from "vitest";
import type { DomainEvent } from "../../../src/libvirt/client/messages.ts";
import { conditionOf, signalOf } from "../../../src/libvirt/conditions.ts";
import { newMachineId, uuidOf } from "../../../src/model/ids.ts";

const machineId = newMachineId();
const domain = { name: "vm", uuid: uuidOf(machineId), id: 1 };
const unknown = { hasRun: false, isFresh: false };

test.each([
  [5, 1, unknown, { is: "off", ended: "shutdown" }],
  [5, 2, unknown, { is: "off", ended: "destroyed" }],
  [5, 3, unknown, { is: "off", ended: "crashed" }],
  [5, 4, unknown, { is: "off", ended: "taken-away" }],
  [5, 5, unknown, { is: "off", ended: "taken-away" }],
  [5, 6, unknown, { is: "off", ended: "failed" }],
  [5, 0, unknown, { is: "off", ended: "unknown" }],
  [5, 8, unknown, { is: "off", ended: "unknown" }],
  [5, 0, { hasRun: false, isFresh: true }, { is: "off", ended: "never-started" }],
  [5, 1, { hasRun: false, isFresh: true }, { is: "off", ended: "shutdown" }],
  [1, 1, unknown, { is: "on" }],
  [2, 0, unknown, { is: "on" }],
  [4, 1, unknown, { is: "on" }],
  [3, 1, unknown, { is: "on", paused: "start" }],
  [3, 1, { hasRun: true, isFresh: false }, { is: "on", paused: "other" }],
  [3, 11, unknown, { is: "on", paused: "start" }],
  [3, 5, unknown, { is: "on", paused: "io-error" }],
  [3, 3, unknown, { is: "on", paused: "other" }],
  [6, 1, unknown, { is: "on", paused: "other" }],
  [7, 0, unknown, { is: "on", paused: "other" }],
  [99, 99, unknown, { is: "on" }],
])("state %i for reason %i, knowing %o, is %o", (state, reason, known, condition) => {
  expect(conditionOf({ state, reason }, known)).toEqual(condition);
});

const lifecycle = (event: number, detail: number): DomainEvent => ({
  type: "lifecycle",
  callbackId: 0,
  domain,
  event,
  detail,
});

test.each<[string, DomainEvent, object | undefined]>([
  ["defined", lifecycle(0, 0), undefined],
  ["undefined", lifecycle(1, 0), { type: "undefined", machineId }],
  ["renamed", lifecycle(1, 1), undefined],
  ["started", lifecycle(2, 0), { type: "started", machineId }],
  ["suspended", lifecycle(3, 0), { type: "paused", machineId }],
  ["resumed", lifecycle(4, 0), { type: "resumed", machineId }],
  ["shut down", lifecycle(5, 0), { type: "stopped", machineId, how: "shutdown" }],
  ["destroyed", lifecycle(5, 1), { type: "stopped", machineId, how: "destroyed" }],
  ["crashed", lifecycle(5, 2), { type: "stopped", machineId, how: "crashed" }],
  ["failed", lifecycle(5, 5), { type: "stopped", machineId, how: "failed" }],
  ["saved", lifecycle(5, 4), { type: "stopped", machineId, how: "unknown" }],
  ["going down", lifecycle(6, 1), undefined],
  ["panicked", lifecycle(8, 0), { type: "panicked", machineId }],
  ["rebooted", { type: "reboot", callbackId: 1, domain }, { type: "rebooted", machineId }],
  [
    "out of disk",
    { type: "io-error", callbackId: 2, domain, sourcePath: "/d", device: "d", action: 1, reason: "enospc" },
    { type: "io-error", machineId },
  ],
  ["agent up", { type: "agent", callbackId: 3, domain, state: 1, reason: 2 }, { type: "agent-up", machineId }],
  ["agent down", { type: "agent", callbackId: 3, domain, state: 2, reason: 2 }, undefined],
])("an event of a domain that is %s", (_what, event, signal) => {
  expect(signalOf(event, machineId)).toEqual(signal);
});
