import { describe } from "vitest";
import type { MachineId } from "../../../src/model/ids.ts";
import { guestExecContract } from "../../contract/guest-exec.contract.ts";
import { FakeGuestExec } from "../../fakes/guest-exec.ts";

const exec = new FakeGuestExec();
const target = { machineId: "a".repeat(64) as MachineId, way: "auto", user: "root" } as const;

describe("the fake guest", () => guestExecContract(() => ({ exec, target }), { hasStdin: true, largeBytes: 4 << 20 }));
