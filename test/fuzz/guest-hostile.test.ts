// What a guest can do to the host by the ways into it: its ssh server may say anything once it let us in, its agent may
// answer anything. Commands end, other guests' go on, and nothing is kept.

import { PassThrough } from "node:stream";
import { text } from "node:stream/consumers";
import fc from "fast-check";
import { afterAll, beforeAll, expect, test } from "vitest";
import { createAgentExec } from "../../src/guest/exec/agent-exec.ts";
import { SshExec } from "../../src/guest/exec/ssh-exec.ts";
import { LINK_DEFAULTS } from "../../src/guest/exec/ssh-link.ts";
import type { GuestCommand, GuestExec, GuestTarget } from "../../src/ports/guest-exec.ts";
import { heldBytes } from "../fakes/held-bytes.ts";
import { SshGuest, sendRaw } from "../fakes/ssh-guest.ts";

const RUNS = process.env["FULL"] === "1" ? 2_000 : 40;
const LIMIT_MS = RUNS * 1_000;
const MAX_GROWTH_BYTES = 32 << 20;
const QUICK = { ...LINK_DEFAULTS, pauses: { firstMs: 1, maxMs: 5 } };
/** It says it started, so that what follows meets a command that runs. */
const COMMAND: GuestCommand = { argv: ["sh", "-c", "echo started; sleep 5"], isTty: false, limitMs: 60 };

let good: SshGuest;
let exec: SshExec;
beforeAll(async () => {
  good = await SshGuest.start();
  exec = new SshExec(QUICK);
});
afterAll(async () => {
  exec[Symbol.dispose]();
  await good[Symbol.asyncDispose]();
});

/** Messages of RFC 4252 to 4254, of the key exchange, and of nobody; numbers small, huge and right. */
const uint32 = fc.oneof(fc.integer({ min: 0, max: 3 }), fc.integer({ min: 0, max: 0xffff_ffff })).map((value) => {
  const bytes = Buffer.alloc(4);
  bytes.writeUInt32BE(value);
  return bytes;
});
const word = fc.oneof(
  fc.constantFrom("exit-status", "exit-signal", "session", "forwarded-tcpip", "x11", "hostkeys-00@openssh.com", "KILL"),
  fc.string({ maxLength: 40 }),
);
const sized = word.map((each) => {
  const content = Buffer.from(each);
  const length = Buffer.alloc(4);
  length.writeUInt32BE(content.length);
  return Buffer.concat([length, content]);
});
const flag = fc.constantFrom(Buffer.of(0), Buffer.of(1));
const anything = fc.uint8Array({ maxLength: 60 }).map((each) => Buffer.from(each));
const payload = fc
  .tuple(
    fc.oneof(
      fc.constantFrom(1, 2, 3, 4, 5, 6, 7, 20, 21, 30, 31, 50, 51, 52, 53, 80, 81, 82),
      fc.integer({ min: 90, max: 100 }),
      fc.integer({ min: 0, max: 255 }),
    ),
    fc.array(fc.oneof(uint32, sized, flag, anything), { maxLength: 5 }),
  )
  .map(([type, parts]) => Buffer.concat([Buffer.of(type), ...parts]));

test("whatever a guest's ssh server says, its command ends in time, and other guests notice nothing", {
  timeout: LIMIT_MS,
}, async () => {
  const before = await heldBytes();
  await fc.assert(
    fc.asyncProperty(fc.array(payload, { minLength: 1, maxLength: 12 }), async (payloads) => {
      await using bad = await SshGuest.start();
      using toBad = new SshExec(QUICK);
      const running = settled(toBad, bad.target);
      const { protocol } = await bad.firstChannel;
      for (const each of payloads) sendRaw(protocol, each);
      expect(await running).toMatch(/^(\d+|TimeoutError|VmletError)$/);
      expect(await said(exec, good.target)).toBe("alive\n");
    }),
    { numRuns: RUNS },
  );
  expect((await heldBytes()) - before).toBeLessThan(MAX_GROWTH_BYTES);
});

test("whatever a guest's agent answers, its command ends in time", { timeout: LIMIT_MS }, async () => {
  const answer = fc.oneof(
    fc.record({ pid: fc.oneof(fc.integer(), fc.anything()) }),
    fc.record(
      {
        exited: fc.oneof(fc.boolean(), fc.anything()),
        exitcode: fc.oneof(fc.integer(), fc.anything()),
        signal: fc.oneof(fc.integer({ min: 0, max: 70 }), fc.anything()),
        "out-data": fc.oneof(fc.string(), fc.base64String(), fc.anything()),
        "err-data": fc.oneof(fc.base64String(), fc.anything()),
      },
      { requiredKeys: [] },
    ),
    fc.record({ "buf-b64": fc.oneof(fc.base64String({ minLength: 4 }), fc.anything()) }),
    fc.integer(),
    fc.anything(),
  );
  const target: GuestTarget = { ...good.target, way: "agent" };
  await fc.assert(
    fc.asyncProperty(fc.array(answer, { minLength: 1, maxLength: 8 }), async (answers) => {
      let asked = 0;
      const agent = createAgentExec(async () => answers[asked++ % answers.length]);
      expect(await settled(agent, target)).toMatch(/^(\d+|TimeoutError|VmletError)$/);
    }),
    { numRuns: RUNS },
  );
});

/** The exit code, or the name of the error. */
async function settled(by: GuestExec, target: GuestTarget): Promise<string> {
  const streams = { stdout: new PassThrough().resume(), stderr: new PassThrough().resume() };
  const ends = by.run(target, COMMAND, streams, AbortSignal.timeout(20_000));
  return await ends.then(String, (error: Error) => error.name);
}

async function said(by: GuestExec, target: GuestTarget): Promise<string> {
  const stdout = new PassThrough();
  const all = text(stdout);
  await by.run(target, { argv: ["echo", "alive"], isTty: false }, { stdout }, AbortSignal.timeout(20_000));
  return await all;
}
