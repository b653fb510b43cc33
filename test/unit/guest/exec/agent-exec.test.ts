import { mkdtemp, readdir, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { PassThrough, Readable } from "node:stream";
import { buffer, text } from "node:stream/consumers";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { createAgentExec } from "../../../../src/guest/exec/agent-exec.ts";
import { poll } from "../../../../src/lib/backoff.ts";
import { VmletError } from "../../../../src/model/failure.ts";
import type { MachineId } from "../../../../src/model/ids.ts";
import type { GuestExec } from "../../../../src/ports/guest-exec.ts";
import { guestExecContract } from "../../../contract/guest-exec.contract.ts";
import { LocalAgent } from "../../../fakes/local-agent.ts";

const target = { machineId: "a".repeat(64) as MachineId, way: "agent", user: "root" } as const;
const soon = (): AbortSignal => AbortSignal.timeout(30_000);

let folder = "";
let agent: LocalAgent;
let exec: GuestExec;
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), "vmlet-"));
  agent = new LocalAgent();
  exec = createAgentExec(agent.ask, join(folder, "exec"));
});
afterAll(async () => {
  await agent[Symbol.asyncDispose]();
  await rm(folder, { recursive: true, force: true });
});

describe("the agent's way", () =>
  guestExecContract(() => ({ exec, target }), { hasStdin: false, largeBytes: 4 << 20 }));

const left = async (): Promise<unknown> => ({ files: await readdir(join(folder, "exec")), held: agent.held });

test("commands that ended, large or aborted, leave no file in the guest and nothing with its agent", async () => {
  expect(await left()).toEqual({ files: [], held: 0 });
});

test("abort kills the command with all that it started, in the background too, and only that", async () => {
  const controller = new AbortController();
  const stdout = new PassThrough();
  const argv = ["sh", "-c", "sleep 3939 & echo $!; sleep 3939"];
  const running = exec.run(target, { argv, isTty: false }, { stdout }, controller.signal);
  stdout.once("data", () => controller.abort(new Error("enough")));
  const child = stdout.toArray();
  await expect(running).rejects.toThrow("enough");
  stdout.end();
  const pid = Number(Buffer.concat((await child) as Buffer[]).toString());
  const isGone = async (): Promise<true | undefined> => (isAlive(pid) ? undefined : true);
  await poll(isGone, { firstMs: 5, maxMs: 50 }, soon());
  expect(await left()).toEqual({ files: [], held: 0 });
});

test("a command's leftovers in the background do not keep it, and what it said is there", async () => {
  const stdout = new PassThrough();
  const said = text(stdout);
  const argv = ["sh", "-c", "sleep 5 & echo hi"];
  expect(await exec.run(target, { argv, isTty: false }, { stdout }, soon())).toBe(0);
  expect(await said).toBe("hi\n");
});

test("of each output 16 MiB are kept, and the command is not disturbed", async () => {
  const [stdout, stderr] = [new PassThrough(), new PassThrough()];
  const kept = Promise.all([buffer(stdout), text(stderr)]);
  const argv = ["sh", "-c", `head -c ${17 << 20} /dev/zero && echo whole >&2`];
  expect(await exec.run(target, { argv, isTty: false }, { stdout, stderr }, soon())).toBe(0);
  const [out, err] = await kept;
  expect([out.length, err]).toEqual([16 << 20, "whole\n"]);
  expect(await left()).toEqual({ files: [], held: 0 });
});

test("a command starts in its folder, and not at all when that is not there", async () => {
  const stdout = new PassThrough();
  const said = text(stdout);
  const at = { ...target, workingDir: "/usr" };
  expect(await exec.run(at, { argv: ["pwd"], isTty: false }, { stdout }, soon())).toBe(0);
  expect(await said).toBe("/usr\n");
  const nowhere = { ...target, workingDir: "/no/such" };
  expect(await exec.run(nowhere, { argv: ["true"], isTty: false }, {}, soon())).toBe(126);
});

test.each([{ isTty: true }, { isTty: false, stdin: Readable.from(["x"]) }])(
  "what the agent cannot give is refused before it is asked, saying what to install",
  async ({ isTty, stdin }) => {
    const before = agent.asked.length;
    const running = exec.run(target, { argv: ["sh"], isTty }, stdin === undefined ? {} : { stdin }, soon());
    await expect(running).rejects.toThrow(/openssh-server/);
    expect(agent.asked.length).toBe(before);
  },
);

test.each(["AGENT_ABSENT", "AGENT_REFUSED"] as const)(
  "a guest whose agent is no way in (%s) is closed",
  async (code) => {
    const refuse = async (): Promise<never> => {
      throw new VmletError({ code, domain: "d", command: "guest-exec" } as never, "it said no");
    };
    const running = createAgentExec(refuse).run(target, { argv: ["true"], isTty: false }, {}, soon());
    await expect(running).rejects.toMatchObject({
      failure: { code: "WRONG_STATE", subject: "guest" },
      message: expect.stringMatching(/it said no.*openssh-server.*qemu-guest-agent/),
    });
  },
);

test.each([{}, { pid: "1" }, null, { pid: 1.5 }, []])(
  "an agent that answers nonsense ends the command: %j",
  async (answer) => {
    const running = createAgentExec(async () => answer).run(target, { argv: ["true"], isTty: false }, {}, soon());
    await expect(running).rejects.toThrow(/is no answer/);
  },
);

test("an agent that never reaches the end of a file is left at the cap", async () => {
  const piece = Buffer.alloc(3 << 20).toString("base64"); // more than it was asked for
  let isOver = false;
  const hostile = async (_machine: unknown, { execute }: { execute: string }): Promise<unknown> => {
    if (execute === "guest-exec") return { pid: 1 };
    if (execute === "guest-file-open") return 7;
    if (execute === "guest-file-read") return { count: 1, "buf-b64": piece, eof: false };
    const status = { exited: true, exitcode: 0, "out-data": isOver ? "" : piece };
    isOver = true;
    return status;
  };
  const stdout = new PassThrough();
  const kept = buffer(stdout);
  await createAgentExec(hostile).run(target, { argv: ["true"], isTty: false }, { stdout }, soon());
  expect((await kept).length).toBe(16 << 20);
});

test("an agent that gives a file byte by byte is not asked for more than a piece at a time", async () => {
  let reads = 0;
  let execs = 0;
  const hostile = async (_machine: unknown, { execute }: { execute: string }): Promise<unknown> => {
    await new Promise((resolve) => setImmediate(resolve));
    if (execute === "guest-exec") return { pid: (execs += 1) };
    if (execute === "guest-file-open") return 7;
    if (execute !== "guest-file-read") return { exited: execs > 1 }; // the second kills it
    reads += 1;
    return { count: 1, "buf-b64": "eA==", eof: false };
  };
  const command = { argv: ["true"], isTty: false, limitMs: 2_500 };
  const running = createAgentExec(hostile).run(target, command, { stdout: new PassThrough().resume() }, soon());
  await expect(running).rejects.toMatchObject({ name: "TimeoutError" });
  expect(reads).toBeLessThan(20);
});

function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch {
    return false;
  }
}
