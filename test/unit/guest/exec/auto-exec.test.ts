import { expect, test } from "vitest";
import { autoExec } from "../../../../src/guest/exec/auto-exec.ts";
import { closed, refusedByAgent } from "../../../../src/guest/exec/ways.ts";
import { VmletError } from "../../../../src/model/failure.ts";
import type { MachineId } from "../../../../src/model/ids.ts";
import type { GuestExec, GuestTarget } from "../../../../src/ports/guest-exec.ts";

const machineId = "a".repeat(64) as MachineId;
const target = (way: GuestTarget["way"]): GuestTarget => ({ machineId, way, user: "root" });
const answering = (exitCode: number): GuestExec => ({ run: async () => exitCode });
const failing = (error: (target: GuestTarget) => Error): GuestExec => ({
  run: async (target) => {
    throw error(target);
  },
});
const shut = (why: string): GuestExec => failing((at) => closed(at, why));
const lost = new VmletError({ code: "GUEST_LOST", machineId }, "lost in the middle");

async function run(way: GuestTarget["way"], ssh: GuestExec, agent: GuestExec): Promise<number> {
  return await autoExec({ ssh, agent }).run(target(way), { argv: ["x"], isTty: false }, {}, AbortSignal.timeout(5_000));
}

test.each([
  ["auto", answering(1), answering(2), 1],
  ["auto", shut("no ssh"), answering(2), 2],
  ["ssh", answering(1), answering(2), 1],
  ["agent", answering(1), answering(2), 2],
] as const)("%s takes the way that is there, ssh first", async (way, ssh, agent, exitCode) => {
  expect(await run(way, ssh, agent)).toBe(exitCode);
});

test("a pod that wants one way gets no other", async () => {
  await expect(run("ssh", shut("no ssh"), answering(2))).rejects.toThrow("no ssh");
  await expect(run("agent", answering(1), shut("no agent"))).rejects.toThrow("no agent");
});

test("with neither, both reasons are said", async () => {
  await expect(run("auto", shut("no ssh"), shut("no agent"))).rejects.toMatchObject({
    failure: { code: "WRONG_STATE" },
    message: expect.stringMatching(/no ssh.*no agent/),
  });
});

test("a command that began by ssh is not begun again by the agent", async () => {
  const once = failing(() => lost);
  await expect(run("auto", once, answering(2))).rejects.toBe(lost);
});

test("while the guest boots, a command waits for the first way that opens", async () => {
  let tries = 0;
  const booting: GuestExec = {
    run: async (at) => {
      tries += 1;
      if (tries < 3) throw closed(at, "not yet");
      return 7;
    },
  };
  const at = { ...target("auto"), bootsUntilMs: Date.now() + 5_000 };
  const ways = autoExec({ ssh: booting, agent: shut("no agent") });
  expect(await ways.run(at, { argv: ["x"], isTty: false }, {}, AbortSignal.timeout(5_000))).toBe(7);
});

test("a guest that has booted without a way in is not waited for, nor what no waiting would change", async () => {
  const ways = autoExec({ ssh: shut("no ssh"), agent: failing(refusedByAgent) });
  const terminal = { argv: ["x"], isTty: true };
  const booted = { ...target("auto"), bootsUntilMs: Date.now() };
  await expect(ways.run(booted, terminal, {}, AbortSignal.timeout(5_000))).rejects.toThrow("no ssh");
  const booting = { ...target("agent"), bootsUntilMs: Date.now() + 60_000 };
  await expect(ways.run(booting, terminal, {}, AbortSignal.timeout(5_000))).rejects.toThrow("openssh-server");
});
