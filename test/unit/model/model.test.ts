import fc from "fast-check";
import { expect, test } from "vitest";
import { failsWith } from "../../../src/model/failure.ts";
import { newMachineId, uuidOf } from "../../../src/model/ids.ts";
import { type MachineEvent, type MachineState, nextMachineState } from "../../../src/model/machine.ts";
import { domainNameOf } from "../../../src/model/machine-plan.ts";

const exit = { finishedAtMs: 5, exitCode: 0, reason: "Completed", message: "" } as const;
const event: fc.Arbitrary<MachineEvent> = fc.constantFrom<MachineEvent>(
  { type: "created" },
  { type: "start-asked" },
  { type: "start-undone" },
  { type: "started", nowMs: 3 },
  { type: "stop-asked", killAtMs: 4 },
  { type: "ended", exit },
);

test("a machine that exited stays exited, whatever happens, and every event answers every state", () => {
  fc.assert(
    fc.property(fc.array(event, { maxLength: 20 }), (events) => {
      let state: MachineState = { at: "intended" };
      for (const next of events) {
        const before = state;
        try {
          state = nextMachineState(state, next);
        } catch (error) {
          if (!failsWith(error, "WRONG_STATE")) throw error;
        }
        if (before.at === "exited") expect(state).toBe(before);
      }
    }),
  );
});

test("a domain name is at most 200 bytes of file-name-safe characters and ends in the machine's id", () => {
  fc.assert(
    fc.property(fc.string({ maxLength: 300 }), fc.string({ maxLength: 300 }), (namespace, pod) => {
      const id = newMachineId();
      const name = domainNameOf(namespace, pod, id);
      expect(Buffer.byteLength(name)).toBeLessThanOrEqual(200);
      expect(name).toMatch(/^[A-Za-z0-9_][A-Za-z0-9._-]*$/);
      expect(name.endsWith(`_${id.slice(0, 12)}`)).toBe(true);
    }),
  );
});

test("the domain's uuid is the first half of the machine's id", () => {
  const id = newMachineId();
  expect(uuidOf(id).replaceAll("-", "")).toBe(id.slice(0, 32));
});
