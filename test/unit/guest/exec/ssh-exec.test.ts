import { randomBytes } from "node:crypto";
import type { Socket } from "node:net";
import { PassThrough, Writable } from "node:stream";
import { text } from "node:stream/consumers";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { autoExec } from "../../../../src/guest/exec/auto-exec.ts";
import { newOpensshKeyPair } from "../../../../src/guest/exec/openssh-key.ts";
import { SshExec } from "../../../../src/guest/exec/ssh-exec.ts";
import { closed as closedWay } from "../../../../src/guest/exec/ways.ts";
import { poll } from "../../../../src/lib/backoff.ts";
import type { GuestExec } from "../../../../src/ports/guest-exec.ts";
import { guestExecContract } from "../../../contract/guest-exec.contract.ts";
import { heldBytes } from "../../../fakes/held-bytes.ts";
import { IMPATIENT, QUICK, served, soon } from "../../../fakes/served-ssh.ts";
import { SshGuest } from "../../../fakes/ssh-guest.ts";
import { ToldSizes } from "../../../fakes/told-sizes.ts";

describe("a guest that serves ssh", () => {
  let guest: SshGuest;
  let exec: SshExec;
  beforeAll(async () => {
    guest = await SshGuest.start();
    exec = new SshExec(QUICK);
  });
  afterAll(async () => {
    exec[Symbol.dispose]();
    await guest[Symbol.asyncDispose]();
  });

  guestExecContract(() => ({ exec, target: guest.target }), { hasStdin: true, largeBytes: 16 << 20 });

  test("one connection serves them all, and no command is left", async () => {
    const sh = async (n: number): Promise<string> => await say(exec, guest, ["sh", "-c", `echo ${n}`]);
    const said = await Promise.all(Array.from({ length: 50 }, (_, n) => sh(n)));
    expect(said).toEqual(Array.from({ length: 50 }, (_, n) => `${n}\n`));
    expect([guest.connections, guest.running]).toEqual([1, 0]);
  });
});

describe("one command", () => {
  test("abort kills it with all that it started, whatever groups they made, and the others go on", async () => {
    await using at = await served();
    const other = at.run(["sh", "-c", "sleep 2; echo well"]);
    const controller = new AbortController();
    const stdout = new PassThrough();
    const argv = ["bash", "-c", "set -m; sleep 3940 & echo $!; trap '' TERM HUP; sleep 3940"];
    const running = at.exec.run(at.guest.target, { argv, isTty: false }, { stdout }, controller.signal);
    stdout.once("data", () => controller.abort(new Error("enough")));
    const pid = Number((await text(stdout.on("data", () => stdout.end()))).trim());
    await expect(running).rejects.toThrow("enough");
    await poll(async () => (isAlive(pid) ? undefined : true), { firstMs: 5, maxMs: 50 }, soon());
    expect(await other).toMatchObject({ exitCode: 0, stdout: "well\n" });
  });

  test("with a terminal: of the newest size at its start, then of each, and what was typed early comes later", async () => {
    await using at = await served();
    const sizes = new ToldSizes({ columns: 100, rows: 30 });
    const stdin = new PassThrough();
    stdin.write("typed early\n");
    const stdout = new PassThrough();
    stdout.once("data", () => sizes.tell({ columns: 120, rows: 40 }));
    const said = text(stdout);
    const argv = ["sh", "-c", "echo prompt; read line; echo got $line; read line; echo error >&2; exit 5"];
    const streams = { stdin, stdout, sizes };
    const running = at.exec.run(at.guest.target, { argv, isTty: true }, streams, soon());
    await poll(async () => at.guest.sizes[1], { firstMs: 5, maxMs: 50 }, soon());
    stdin.write("go on\n");
    expect(await running).toBe(5);
    expect(await said).toBe("prompt\ngot typed early\nerror\n");
    expect(at.guest.sizes).toEqual([
      { cols: 100, rows: 30 },
      { cols: 120, rows: 40 },
    ]);
  });

  test("a reader that stands still holds its command back, the errors of it too, and no other", async () => {
    await using at = await served();
    const stdout = new Writable({ highWaterMark: 1, write: () => {} }); // never done
    const stderr = new PassThrough().resume();
    const argv = ["sh", "-c", "head -c 50000000 /dev/zero; echo through >&2"];
    const controller = new AbortController();
    const running = at.exec.run(at.guest.target, { argv, isTty: false }, { stdout, stderr }, controller.signal);
    expect(await at.run(["sh", "-c", "head -c 5000000 /dev/zero | wc -c"])).toMatchObject({ stdout: "5000000\n" });
    expect(at.guest.running).toBe(1);
    controller.abort(new Error("enough"));
    await expect(running).rejects.toThrow("enough");
  });

  test("a line that is too long, or no line of any shell, is refused by name", async () => {
    await using at = await served();
    await expect(at.run(["echo", "x".repeat(200_000)])).rejects.toThrow(/^cmd: /);
    await expect(at.run(["a\0b"])).rejects.toThrow(/^cmd: /);
    expect(at.guest.connections).toBe(0);
  });
});

describe("the connection", () => {
  test("lost under a command: that one's end is not known, and the next has a new connection", async () => {
    await using at = await served();
    const stdout = new PassThrough();
    const argv = ["sh", "-c", "echo started; sleep 3941"];
    const running = at.exec.run(at.guest.target, { argv, isTty: false }, { stdout }, soon());
    stdout.once("data", () => at.guest.dropConnections());
    await expect(running).rejects.toMatchObject({ failure: { code: "GUEST_LOST" } });
    expect(await at.run(["echo", "again"])).toMatchObject({ stdout: "again\n" });
    expect(at.guest.connections).toBe(2);
  });

  test("lost between two commands: the second does not notice", async () => {
    await using at = await served();
    await at.run(["true"]);
    at.guest.dropConnections();
    expect(await at.run(["echo", "again"])).toMatchObject({ exitCode: 0, stdout: "again\n" });
  });

  test("an earlier server's last words, and a booting guest's, are nothing", async () => {
    await using at = await served({ noise: Buffer.concat([randomBytes(100_000), Buffer.from("\r\nSSH-1.5-x SS")]) });
    expect(await at.run(["echo", "hi"])).toMatchObject({ stdout: "hi\n" });
  });

  test("a guest that says nothing is closed soon, and open as soon as it says something", async () => {
    const sockets: Socket[] = [];
    await using at = await served({ answer: (socket) => void sockets.push(socket) });
    await expect(at.run(["true"])).rejects.toMatchObject(CLOSED);
    await expect(at.run(["true"])).rejects.toThrow(/does not serve ssh.*openssh-server/);
    expect(at.guest.connections).toBe(1); // still listened to
    at.guest.options = {};
    for (const socket of sockets.splice(0)) at.guest.serve(socket);
    const up = async () => await at.run(["echo", "up"]).catch(() => undefined);
    expect(await poll(up, { firstMs: 5, maxMs: 50 }, soon())).toMatchObject({ stdout: "up\n" });
    expect(at.guest.connections).toBe(1);
  });

  test("a guest that says nothing, asked for days, leaves nothing behind each time", async () => {
    await using at = await served({ answer: () => {} });
    const ask = async (): Promise<void> => {
      const { signal } = new AbortController();
      const end = await at.exec.run(at.guest.target, TRUE, {}, signal).catch((error: Error) => error.message);
      if (!String(end).includes("does not serve ssh")) throw new Error(`it ended: ${end}`); // expect would keep each
    };
    for (let n = 0; n < 500; n++) await ask();
    const before = await heldBytes();
    for (let n = 0; n < 3_000; n++) await ask();
    expect(at.guest.connections).toBe(1);
    expect((await heldBytes()) - before).toBeLessThan(1 << 20);
  });

  test.each([
    ["without end", (socket: Socket) => flood(socket), /no SSH/],
    ["that begins well", (socket: Socket) => void socket.write("SSH-2.0-x\r\n"), /did not let us in within/],
    ["that ends", (socket: Socket) => void socket.end("SSH-2.0-x\r\nnonsense and more of it"), /cannot be used/],
    ["of one line without end", (socket: Socket) => flood(socket, "SSH-2.0-"), /cannot be used/],
  ])("a guest that talks nonsense %s is closed within the limit, with a few tries", async (_name, answer, why) => {
    await using at = await served({ answer }, IMPATIENT);
    const startedAtMs = performance.now();
    const error: unknown = await at.run(["true"]).catch((thrown: unknown) => thrown);
    expect(error).toMatchObject(CLOSED);
    expect(String(error)).toMatch(why);
    expect(performance.now() - startedAtMs).toBeLessThan(IMPATIENT.reachLimitMs + 5_000);
  });

  test("a guest with another host key than its own is not let near our key", async () => {
    let users = 0;
    const hostKey = newOpensshKeyPair("other").privateKey;
    await using at = await served({ hostKey, admits: () => ++users > 0 }, IMPATIENT);
    await expect(at.run(["true"])).rejects.toMatchObject(CLOSED);
    expect(users).toBe(0);
  });

  test("a user whom the guest does not let in is named", async () => {
    await using at = await served({ admits: (user) => user !== "root" });
    await expect(at.run(["true"])).rejects.toThrow(/does not let root in/);
  });

  test("without a port, and without keys, it is closed at once", async () => {
    await using at = await served();
    const { target } = at.guest;
    const { ssh = { socketPath: "", keyFolderPath: "" } } = target;
    for (const odd of [{ socketPath: "/no/such" }, { keyFolderPath: "/no/such" }]) {
      using exec = new SshExec(QUICK);
      const running = exec.run({ ...target, ssh: { ...ssh, ...odd } }, TRUE, {}, soon());
      await expect(running).rejects.toMatchObject(CLOSED);
    }
  });

  test("abort ends the waiting for a guest that says nothing", async () => {
    await using at = await served({ answer: () => {} });
    using exec = new SshExec({ ...QUICK, silenceMs: 60_000 });
    const controller = new AbortController();
    const running = exec.run(at.guest.target, TRUE, {}, controller.signal);
    controller.abort(new Error("enough"));
    await expect(running).rejects.toThrow("enough");
  });
});

test("while the guest boots, a terminal's sizes are kept for the try that gets in", async () => {
  await using at = await served({ answer: () => {} }, { ...QUICK, silenceMs: 50 });
  const sizes = new ToldSizes({ columns: 100, rows: 30 });
  const noAgent: GuestExec = {
    run: async (target) => {
      throw closedWay(target, "no agent");
    },
  };
  const exec = autoExec({ ssh: at.exec, agent: noAgent });
  const target = { ...at.guest.target, bootsUntilMs: Date.now() + 20_000 };
  const running = exec.run(target, { argv: ["true"], isTty: true }, { sizes }, soon());
  await poll(async () => at.guest.connections || undefined, { firstMs: 5, maxMs: 50 }, soon());
  sizes.tell({ columns: 120, rows: 40 });
  at.guest.options = {};
  at.guest.dropConnections();
  expect(await running).toBe(0);
  expect(at.guest.sizes).toEqual([{ cols: 120, rows: 40 }]);
});

const CLOSED = { failure: { code: "WRONG_STATE", subject: "guest" } };
const TRUE = { argv: ["true"], isTty: false };

function flood(socket: Socket, first = ""): void {
  const noise = Buffer.alloc(64 << 10, "x");
  const more = (): void => {
    while (!socket.destroyed && socket.write(noise));
  };
  socket.write(first);
  socket.on("drain", more);
  more();
}

function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch {
    return false;
  }
}

async function say(exec: SshExec, guest: SshGuest, argv: string[]): Promise<string> {
  const stdout = new PassThrough();
  const said = text(stdout);
  await exec.run(guest.target, { argv, isTty: false }, { stdout }, soon());
  return await said;
}
