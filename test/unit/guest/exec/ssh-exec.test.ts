import { randomBytes } from "node:crypto";
import type { Socket } from "node:net";
import { PassThrough, Writable } from "node:stream";
import { text } from "node:stream/consumers";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { autoExec } from "../../../../src/guest/exec/auto-exec.ts";
import { newOpensshKeyPair } from "../../../../src/guest/exec/openssh-key.ts";
import { SshExec } from "../../../../src/guest/exec/ssh-exec.ts";
import { LINK_DEFAULTS, type LinkOptions } from "../../../../src/guest/exec/ssh-link.ts";
import { closed as closedWay } from "../../../../src/guest/exec/ways.ts";
import { poll } from "../../../../src/lib/backoff.ts";
import type { GuestExec } from "../../../../src/ports/guest-exec.ts";
import { guestExecContract } from "../../../contract/guest-exec.contract.ts";
import { heldBytes } from "../../../fakes/held-bytes.ts";
import { SshGuest, type SshGuestOptions, sendRaw } from "../../../fakes/ssh-guest.ts";
import { ToldSizes } from "../../../fakes/told-sizes.ts";

const soon = (): AbortSignal => AbortSignal.timeout(25_000);
const QUICK = {
  ...LINK_DEFAULTS,
  silenceMs: 300,
  handshakeLimitMs: 2_000,
  reachLimitMs: 10_000,
  pauses: { firstMs: 5, maxMs: 20 },
};
/** For guests that will never let us in. */
const IMPATIENT = { ...QUICK, handshakeLimitMs: 200, reachLimitMs: 1_000 };

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

describe("a guest whose ssh server keeps no rule", () => {
  test("sends what nobody takes, beyond every window: the connection ends, and not our memory", async () => {
    await using at = await served();
    const stdout = new Writable({ highWaterMark: 1, write: () => {} }); // takes nothing
    const running = at.exec.run(at.guest.target, { argv: ["sleep", "3943"], isTty: false }, { stdout }, soon());
    const { channel, protocol } = await at.guest.firstChannel;
    const { id } = Reflect.get(channel, "outgoing") as { id: number };
    const chunk = Buffer.alloc(30_001); // no part of a window
    const flooding = setInterval(() => {
      for (let n = 0; n < 16; n++) protocol.channelData(id, chunk);
    }, 1);
    await expect(running).rejects.toMatchObject({ failure: { code: "GUEST_LOST" }, message: /took none/ });
    clearInterval(flooding);
  });

  test("makes our side ask without end and never answers: the connection ends", async () => {
    await using at = await served({ ident: "OpenSSH_9.2" });
    const running = at.exec.run(at.guest.target, { argv: ["sleep", "3942"], isTty: false }, {}, soon());
    const { protocol } = await at.guest.firstChannel;
    const key = Buffer.from(newOpensshKeyPair("").publicKey.split(" ")[1] ?? "", "base64");
    const [GLOBAL_REQUEST, WANTS_NO_REPLY] = [80, 0];
    const payload = Buffer.concat([
      Buffer.from([GLOBAL_REQUEST]),
      sized(Buffer.from("hostkeys-00@openssh.com")),
      Buffer.from([WANTS_NO_REPLY]),
      sized(key),
    ]);
    for (let n = 0; n < 200; n++) sendRaw(protocol, payload);
    await expect(running).rejects.toMatchObject({ failure: { code: "GUEST_LOST" }, message: /asks for too much/ });
  });
});

describe("a guest whose ssh server is out to hurt", () => {
  test.each([0, 1])(
    "says that it takes %i bytes at once: the connection ends before anything is sent",
    async (packetBytes) => {
      await using at = await served({ packetBytes }, IMPATIENT);
      const stdin = new PassThrough();
      stdin.write("input that no packet could carry");
      const running = at.exec.run(at.guest.target, { argv: ["cat"], isTty: false }, { stdin }, soon());
      await expect(running).rejects.toThrow(/takes [01] bytes at once/);
    },
  );

  test.each(["diffie-hellman-group-exchange-sha256", "diffie-hellman-group18-sha512"] as const)(
    "exchanges keys by %s only, whose numbers would take our time: it is not heeded",
    async (kex) => {
      await using at = await served({ kex: [kex] }, IMPATIENT);
      await expect(at.run(["true"])).rejects.toThrow(/no matching key exchange algorithm/);
    },
  );

  test("makes our side answer without end and reads nothing: the connection ends", async () => {
    await using at = await served();
    const running = at.exec.run(at.guest.target, { argv: ["sleep", "3944"], isTty: false }, {}, soon());
    const { protocol } = await at.guest.firstChannel;
    at.guest.stopReading();
    const [GLOBAL_REQUEST, WANTS_REPLY] = [80, 1];
    const payload = Buffer.concat([Buffer.from([GLOBAL_REQUEST]), sized(Buffer.from("x")), Buffer.from([WANTS_REPLY])]);
    const flooding = setInterval(() => {
      for (let n = 0; n < 2_000; n++) sendRaw(protocol, payload);
    }, 1);
    await expect(running).rejects.toMatchObject({ failure: { code: "GUEST_LOST" }, message: /does not read/ });
    clearInterval(flooding);
  });

  test("sends byte by byte what nobody takes yet: it takes no more memory than bytes do, and is whole", async () => {
    await using at = await served();
    const pieces = 60_000;
    let heard = 0;
    let release = (): void => {};
    const stdout = new Writable({
      highWaterMark: 1,
      write: (chunk: Buffer, _encoding, done) => {
        for (const byte of chunk) expect(byte).toBe(heard++ % 251);
        if (heard < pieces / 2) release = done;
        else done();
      },
    });
    const controller = new AbortController();
    const running = at.exec.run(
      at.guest.target,
      { argv: ["sleep", "3945"], isTty: false },
      { stdout },
      controller.signal,
    );
    const { channel, protocol } = await at.guest.firstChannel;
    const { id } = Reflect.get(channel, "outgoing") as { id: number };
    const before = await heldBytes();
    for (let sent = 0; sent < pieces; sent += 1) {
      protocol.channelData(id, Buffer.of(sent % 251));
      while (at.guest.unsentBytes > 0) await new Promise((resolve) => setImmediate(resolve));
    }
    expect((await heldBytes()) - before).toBeLessThan(8 << 20);
    while (heard < pieces) {
      release();
      await new Promise((resolve) => setImmediate(resolve));
    }
    controller.abort(new Error("enough"));
    await expect(running).rejects.toThrow("enough");
  });

  test.skipIf(process.env["FULL"] !== "1")(
    "fills what waits of very many commands: the connection ends",
    { timeout: 120_000 },
    async () => {
      await using at = await served();
      await at.run(["true"]); // connected
      const run = async (): Promise<unknown> => {
        const stdout = new Writable({ highWaterMark: 1, write: () => {} }); // takes nothing
        const argv = ["sh", "-c", "head -c 5000000 /dev/zero; sleep 3947"];
        return await at.exec
          .run(at.guest.target, { argv, isTty: false }, { stdout }, AbortSignal.timeout(100_000))
          .catch((error: unknown) => error);
      };
      const ends = await Promise.all(Array.from({ length: 150 }, run));
      expect(ends).toContainEqual(
        expect.objectContaining({ message: expect.stringMatching(/to commands that took none/) }),
      );
    },
  );

  test("goes on sending for a command that was given up, and never closes it: nothing is kept, others go on", async () => {
    await using at = await served();
    const controller = new AbortController();
    const stdout = new Writable({ highWaterMark: 1, write: () => {} }); // takes nothing
    const running = at.exec.run(
      at.guest.target,
      { argv: ["sleep", "3946"], isTty: false },
      { stdout },
      controller.signal,
    );
    const { channel, protocol } = await at.guest.firstChannel;
    const { id } = Reflect.get(channel, "outgoing") as { id: number };
    const close = protocol.channelClose.bind(protocol);
    protocol.channelClose = (each) => (each === id ? undefined : close(each));
    controller.abort(new Error("enough"));
    await expect(running).rejects.toThrow("enough");
    for (let n = 0; n < 500; n++) protocol.channelData(id, Buffer.alloc(30_001));
    expect(await at.run(["echo", "well"])).toMatchObject({ stdout: "well\n" });
    expect(at.guest.connections).toBe(1);
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

async function served(options: SshGuestOptions = {}, link: LinkOptions = QUICK) {
  const guest = await SshGuest.start(options);
  const exec = new SshExec(link);
  return {
    guest,
    exec,
    async run(argv: string[]): Promise<{ exitCode: number; stdout: string }> {
      const stdout = new PassThrough();
      const said = text(stdout);
      const exitCode = await exec.run(guest.target, { argv, isTty: false }, { stdout }, soon());
      return { exitCode, stdout: await said };
    },
    async [Symbol.asyncDispose](): Promise<void> {
      exec[Symbol.dispose]();
      await guest[Symbol.asyncDispose]();
    },
  };
}

function flood(socket: Socket, first = ""): void {
  const noise = Buffer.alloc(64 << 10, "x");
  const more = (): void => {
    while (!socket.destroyed && socket.write(noise));
  };
  socket.write(first);
  socket.on("drain", more);
  more();
}

function sized(content: Buffer): Buffer {
  const bytes = Buffer.alloc(4 + content.length);
  bytes.writeUInt32BE(content.length);
  bytes.set(content, 4);
  return bytes;
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
