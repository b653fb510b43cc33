import { PassThrough, Readable, Writable } from "node:stream";
import { describe, expect, test } from "vitest";
import { newOpensshKeyPair } from "../../../../src/guest/exec/openssh-key.ts";
import { poll } from "../../../../src/lib/backoff.ts";
import { heldBytes } from "../../../fakes/held-bytes.ts";
import { IMPATIENT, QUICK, served, soon } from "../../../fakes/served-ssh.ts";
import { sendRaw } from "../../../fakes/ssh-guest.ts";

describe("a guest whose ssh server keeps no rule", () => {
  test("sends what nobody takes, beyond every window: the connection ends, and not our memory", async () => {
    await using at = await served();
    const stdout = new Writable({ highWaterMark: 1, write: () => {} }); // takes nothing
    const { running, protocol, id } = await sleeping(at, "3943", { stdout }, soon());
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
      await using at = await served({ kex: [kex] }, { ...QUICK, reachLimitMs: 3_000 });
      await expect(at.run(["true"])).rejects.toThrow(/no matching key exchange algorithm/);
    },
  );

  test("exchanges keys again and again: the connection ends; once in a while, it goes on", async () => {
    await using at = await served();
    const running = at.exec.run(at.guest.target, { argv: ["sleep", "3948"], isTty: false }, {}, soon());
    const { protocol } = await at.guest.firstChannel;
    await new Promise((resolve) => setTimeout(resolve, 1_100));
    protocol.rekey();
    expect(await at.run(["echo", "well"])).toMatchObject({ stdout: "well\n" });
    const exchanging = setInterval(() => protocol.rekey(), 1);
    await expect(running).rejects.toMatchObject({ failure: { code: "GUEST_LOST" }, message: /exchanges keys again/ });
    clearInterval(exchanging);
  });

  test("gives much room, begins to exchange keys and says no more: input waits where it comes from", async () => {
    await using at = await served();
    let taken = 0;
    const stdin = Readable.from(
      (function* () {
        for (; taken < 2_000; taken += 1) yield Buffer.alloc(32 << 10);
      })(),
      { highWaterMark: 1 },
    );
    const controller = new AbortController();
    const held = new PassThrough();
    const { running, protocol, id } = await sleeping(at, "3949", { stdin: held }, controller.signal);
    protocol.channelWindowAdjust(id, 1 << 30);
    protocol.rekey();
    at.guest.stopReading();
    await new Promise((resolve) => setTimeout(resolve, 100));
    stdin.pipe(held);
    await new Promise((resolve) => setTimeout(resolve, 1_000));
    expect(taken).toBeLessThan(50);
    controller.abort(new Error("enough"));
    await expect(running).rejects.toThrow("enough");
  });

  test("talks without end while no command runs: the connection ends, and the next command has a new one", async () => {
    await using at = await served();
    await at.run(["true"]);
    const { protocol } = await at.guest.firstChannel;
    const IGNORE = 2;
    const flooding = setInterval(
      () => sendRaw(protocol, Buffer.concat([Buffer.of(IGNORE), sized(Buffer.alloc(30_000))])),
      1,
    );
    await poll(async () => (at.guest.isConnected ? undefined : true), { firstMs: 5, maxMs: 50 }, soon());
    clearInterval(flooding);
    expect(await at.run(["echo", "well"])).toMatchObject({ stdout: "well\n" });
    expect(at.guest.connections).toBe(2);
  });

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
    const { running, protocol, id } = await sleeping(at, "3945", { stdout }, controller.signal);
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
    const { running, protocol, id } = await sleeping(at, "3946", { stdout }, controller.signal);
    const close = protocol.channelClose.bind(protocol);
    protocol.channelClose = (each) => (each === id ? undefined : close(each));
    controller.abort(new Error("enough"));
    await expect(running).rejects.toThrow("enough");
    for (let n = 0; n < 500; n++) protocol.channelData(id, Buffer.alloc(30_001));
    expect(await at.run(["echo", "well"])).toMatchObject({ stdout: "well\n" });
    expect(at.guest.connections).toBe(1);
  });
});

type Served = Awaited<ReturnType<typeof served>>;

/** A command that runs until it is given up, and its channel as the guest sees it. */
async function sleeping(
  { exec, guest }: Served,
  seconds: string,
  streams: Parameters<Served["exec"]["run"]>[2],
  signal: AbortSignal,
) {
  const running = exec.run(guest.target, { argv: ["sleep", seconds], isTty: false }, streams, signal);
  const { channel, protocol } = await guest.firstChannel;
  const { id } = Reflect.get(channel, "outgoing") as { id: number };
  return { running, protocol, id };
}

function sized(content: Buffer): Buffer {
  const bytes = Buffer.alloc(4 + content.length);
  bytes.writeUInt32BE(content.length);
  bytes.set(content, 4);
  return bytes;
}
