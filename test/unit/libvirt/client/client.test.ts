import { finished } from "node:stream/promises";
import { afterEach, beforeEach, expect, test } from "vitest";
import {
  CLIENT_DEFAULTS,
  type ClientEvent,
  type ClientOptions,
  LibvirtClient,
} from "../../../../src/libvirt/client/client.ts";
import { MESSAGE_STREAM, STATUS_CONTINUE, STATUS_ERROR, STATUS_OK } from "../../../../src/libvirt/client/framing.ts";
import {
  type DomainRef,
  events,
  KEEPALIVE_PING,
  KEEPALIVE_PONG,
  KEEPALIVE_PROGRAM,
  procedures,
} from "../../../../src/libvirt/client/messages.ts";
import { FakeLibvirtd, type Script, type ServedConnection } from "../../../fakes/libvirtd.ts";

const limit = (): AbortSignal => AbortSignal.timeout(10_000);
const aDomain = (digit: string): DomainRef => ({
  name: `vm${digit}`,
  uuid: `${digit.repeat(8)}-0000-4000-8000-000000000000`,
  id: 1,
});
const domain = aDomain("1");
const { agentCommand, getState, getLibVersion, resume, destroy, shutdown, openConsole } = procedures;

const answering: Script = ({ header }, connection) => {
  if (header.procedure === getState.number) connection.reply(header, getState, { state: 1, reason: 1 });
  else if (header.procedure === getLibVersion.number) connection.reply(header, getLibVersion, { version: 9_000_000n });
  else if (header.procedure === destroy.number) connection.reply(header, destroy, {});
  else connection.reply(header, resume, {});
};

let libvirtd: FakeLibvirtd;
let client: LibvirtClient;

beforeEach(async () => {
  libvirtd = await FakeLibvirtd.start(answering);
});
afterEach(async () => {
  client[Symbol.dispose]();
  await libvirtd[Symbol.asyncDispose]();
});

function open(overrides: Partial<ClientOptions> = {}): LibvirtClient {
  client = new LibvirtClient({
    ...CLIENT_DEFAULTS,
    socketPath: libvirtd.socketPath,
    growAfterMs: 10,
    reconnectWaitMs: 300,
    ...overrides,
  });
  return client;
}
const stateOf = (ref: DomainRef, signal = limit()) =>
  client.call(getState, { domain: ref, flags: 0 }, { domain: ref }, signal);
const resuming = (ref: DomainRef, signal = limit()) => client.call(resume, { domain: ref }, { domain: ref }, signal);

test("a call gets its reply", async () => {
  open();
  expect(await stateOf(domain)).toEqual({ state: 1, reason: 1 });
});

test("a refusal keeps libvirt's code, domain, level and message", async () => {
  libvirtd.script = ({ header }, connection) => connection.refuse(header, 42, "no domain with matching uuid");
  open();
  await expect(stateOf(domain)).rejects.toMatchObject({
    message: "no domain with matching uuid",
    fault: { kind: "refused", procedure: "DOMAIN_GET_STATE", code: 42, domain: 10, level: 2 },
  });
});

test("every pending call rejects when the connection dies, and one that only reads is sent again", async () => {
  let isFirst = true;
  libvirtd.script = (packet, connection) => {
    if (isFirst && packet.header.procedure === getState.number) connection.socket.destroy();
    else if (packet.header.procedure === resume.number) connection.socket.destroy();
    else answering(packet, connection);
    if (packet.header.procedure === getState.number) isFirst = false;
  };
  open();
  expect(await stateOf(domain)).toEqual({ state: 1, reason: 1 });
  await expect(resuming(domain)).rejects.toMatchObject({ fault: { kind: "gone" } });
  expect(libvirtd.callsOf(resume)).toBe(1); // whether it was carried out is not known: never twice
});

test("guests whose agents do not answer leave some of libvirtd's twenty workers to everybody else", async () => {
  let asked = 0;
  libvirtd.script = (packet, connection) => {
    if (packet.header.procedure !== agentCommand.number) answering(packet, connection);
    else asked += 1; // and never answered
  };
  open();
  const leaving = new AbortController();
  const ask = async (_: unknown, at: number): Promise<void> => {
    const ref = { ...domain, uuid: `${String(at).padStart(8, "0")}-0000-4000-8000-000000000000` };
    const args = { domain: ref, command: "{}", timeoutSeconds: 10, flags: 0 };
    await client.call(agentCommand, args, { domain: ref }, leaving.signal).catch(() => {});
  };
  const asking = Array.from({ length: 40 }, ask);
  await expect.poll(() => asked).toBe(16);
  await new Promise((resolve) => setTimeout(resolve, 200)); // ten times as long as a lane takes to grow
  expect([asked, client.load().slow.inFlight]).toEqual([16, 16]);
  await resuming(domain);
  leaving.abort();
  await Promise.all(asking);
});

test("an aborted call rejects with the signal's reason, and its late reply is dropped", async () => {
  const late = Promise.withResolvers<() => void>();
  libvirtd.script = (packet, connection) => {
    if (packet.header.procedure === resume.number) late.resolve(() => connection.reply(packet.header, resume, {}));
    else answering(packet, connection);
  };
  open();
  const reason = new Error("the caller went away");
  const caller = new AbortController();
  const call = resuming(domain, caller.signal);
  const replyLate = await late.promise;
  caller.abort(reason);
  await expect(call).rejects.toBe(reason);
  expect(client.load().lifecycle.inFlight).toBe(1); // libvirt still works on it
  replyLate();
  await expect.poll(() => client.load().lifecycle.inFlight).toBe(0);
  expect(await stateOf(domain)).toEqual({ state: 1, reason: 1 });
});

test("calls on one domain go one after another, those on others beside them", async () => {
  const held: (() => void)[] = [];
  libvirtd.script = ({ header }, connection) => held.push(() => connection.reply(header, resume, {}));
  open();
  const calls = [resuming(domain), resuming(domain), resuming(aDomain("2"))];
  await expect.poll(() => held.length).toBe(2);
  held.splice(0).forEach((release) => release());
  await expect.poll(() => held.length).toBe(1);
  held.splice(0).forEach((release) => release());
  await Promise.all(calls);
});

test("a domain whose call passes its limit fails fast until libvirt answers after all, and its destroy goes through", async () => {
  let answer = (): void => {};
  libvirtd.script = (packet, connection) => {
    if (packet.header.procedure === shutdown.number) answer = () => connection.reply(packet.header, shutdown, {});
    else answering(packet, connection);
  };
  open();
  const asking = client.call(shutdown, { domain, flags: 1 }, { domain, limitMs: 30 }, limit());
  await expect(asking).rejects.toMatchObject({ fault: { kind: "stuck", isFirst: true, domain: domain.name } });
  await expect(resuming(domain)).rejects.toMatchObject({ fault: { kind: "stuck", isFirst: false } });
  expect(libvirtd.callsOf(resume)).toBe(0);
  await stateOf(domain); // reading asks nothing of QEMU
  await resuming(aDomain("2"));
  await client.call(destroy, { domain, flags: 0 }, { domain }, limit());
  answer();
  await expect
    .poll(async () =>
      resuming(domain).then(
        () => "ok",
        () => "stuck",
      ),
    )
    .toBe("ok");
});

test("the end of a domain lifts its quarantine", async () => {
  libvirtd.script = (packet, connection) => {
    if (packet.header.procedure !== shutdown.number) answering(packet, connection);
  };
  open();
  await stateOf(domain);
  const asking = client.call(shutdown, { domain, flags: 1 }, { domain, limitMs: 30 }, limit());
  await expect(asking).rejects.toMatchObject({ fault: { kind: "stuck" } });
  libvirtd.eachListening((connection) => connection.event(events[0], { callbackId: 0, domain, event: 5, detail: 1 }));
  await expect
    .poll(async () =>
      resuming(domain).then(
        () => "ok",
        () => "stuck",
      ),
    )
    .toBe("ok");
});

test("at most four calls are in work on a connection, and hanging ones make the lane grow", async () => {
  const inWork = new Map<ServedConnection, number>();
  libvirtd.script = ({ header }, connection) => {
    if (header.procedure === resume.number) inWork.set(connection, (inWork.get(connection) ?? 0) + 1);
  };
  open();
  const calls = ["1", "2", "3", "4", "5", "6"].map((digit) => resuming(aDomain(digit)));
  await expect.poll(() => [...inWork.values()]).toEqual([4, 2]);
  client[Symbol.dispose]();
  for (const call of await Promise.allSettled(calls)) expect(call.status).toBe("rejected");
});

test("a call waits through a restart of libvirtd; events are registered again and the return is told", async () => {
  const heard: ClientEvent[] = [];
  open({ reconnectWaitMs: 5_000 });
  client.listen((event) => heard.push(event));
  await stateOf(domain);
  await libvirtd.stop();
  const call = resuming(domain);
  await libvirtd.listen();
  await call;
  await expect.poll(() => heard).toContainEqual({ type: "reconnected" });
  libvirtd.eachListening((connection) => connection.event(events[1], { callbackId: 1, domain }));
  await expect.poll(() => heard).toContainEqual({ type: "reboot", callbackId: 1, domain });
});

test("without a libvirtd a call rejects as gone within its wait", async () => {
  await libvirtd.stop();
  open({ reconnectWaitMs: 100 });
  await expect(stateOf(domain)).rejects.toMatchObject({ fault: { kind: "gone", socketPath: libvirtd.socketPath } });
  await expect(resuming(domain)).rejects.toMatchObject({ fault: { kind: "gone" } });
});

test("a libvirtd that takes connections and says nothing is gone, too", async () => {
  libvirtd.shakesHands = false;
  libvirtd.script = () => {};
  open({ handshakeLimitMs: 50, reconnectWaitMs: 50 });
  await expect(stateOf(domain)).rejects.toMatchObject({ fault: { kind: "gone" } });
});

test("closing rejects what waits and what is under way", async () => {
  libvirtd.script = () => {};
  open();
  const underWay = stateOf(domain);
  await expect.poll(() => libvirtd.callsOf(getState)).toBe(1);
  client[Symbol.dispose]();
  await expect(underWay).rejects.toMatchObject({ fault: { kind: "gone" } });
  await expect(stateOf(aDomain("2"))).rejects.toMatchObject({ fault: { kind: "gone" } });
});

test("a ping is answered, and a libvirtd that answers none is given up", async () => {
  libvirtd.script = (packet, connection) => {
    if (packet.header.procedure === getLibVersion.number) answering(packet, connection);
  };
  open({ keepalive: { intervalMs: 20, missesAllowed: 2 } });
  await client.call(getLibVersion, {}, {}, limit());
  libvirtd.eachListening((connection) => connection.keepalive(KEEPALIVE_PING));
  const cameIn = (procedure: number) =>
    libvirtd.received.some(({ header }) => header.program === KEEPALIVE_PROGRAM && header.procedure === procedure);
  await expect.poll(() => cameIn(KEEPALIVE_PONG)).toBe(true);
  await expect(resuming(domain)).rejects.toMatchObject({ fault: { kind: "gone" } });
  expect(cameIn(KEEPALIVE_PING)).toBe(true);
});

test("a stream carries bytes both ways, ends when libvirt ends it, and is aborted when it is destroyed", async () => {
  const written: Buffer[] = [];
  const states: number[] = [];
  let served: ((status: number, data?: Uint8Array) => void) | undefined;
  libvirtd.script = (packet, connection) => {
    const { header, payload } = packet;
    if (header.type === MESSAGE_STREAM) {
      states.push(header.status);
      written.push(payload);
      return;
    }
    if (header.procedure !== openConsole.number) return answering(packet, connection);
    served = (status, data) => connection.stream(header, status, data);
    served(STATUS_CONTINUE, Buffer.from("early ")); // before the reply
    connection.reply(header, openConsole, {});
  };
  open();
  const opening = () => client.openStream(openConsole, { domain, device: undefined, flags: 0 }, { domain }, limit());

  const stream = await opening();
  const read: Buffer[] = [];
  stream.on("data", (chunk: Buffer) => read.push(chunk));
  const ended = new Promise((resolve) => stream.once("close", resolve));
  stream.write(Buffer.alloc(100_000, "x"));
  served?.(STATUS_CONTINUE, Buffer.from("late"));
  await expect.poll(() => Buffer.concat(written).length).toBe(100_000);
  served?.(STATUS_OK);
  await ended;
  expect(Buffer.concat(read).toString()).toBe("early late");

  states.length = 0;
  const other = await opening();
  other.destroy();
  await expect.poll(() => states).toContain(STATUS_ERROR);
});

test("a stream that nobody reads holds its sender back and does not die of it", async () => {
  const piece = Buffer.alloc(65_536, "x");
  const pieces = 200;
  let sent = 0;
  libvirtd.script = ({ header, payload }, connection) => {
    if (header.procedure !== openConsole.number || payload.length === 0) return;
    connection.reply(header, openConsole, {});
    for (; sent < pieces; sent++) connection.stream(header, STATUS_CONTINUE, piece);
    connection.stream(header, STATUS_OK);
  };
  open({ keepalive: { intervalMs: 10, missesAllowed: 1 } });
  const stream = await client.openStream(openConsole, { domain, device: undefined, flags: 0 }, { domain }, limit());
  const [served] = [...libvirtd.connections].toSorted((a, b) => b.socket.writableLength - a.socket.writableLength);
  expect(served?.socket.writableLength).toBeGreaterThan(pieces * piece.length * 0.5);
  const pinged = (): number => libvirtd.received.filter(({ header }) => header.program === KEEPALIVE_PROGRAM).length;
  await expect.poll(pinged).toBeGreaterThan(5); // other connections, for far longer than their patience
  expect(stream.destroyed).toBe(false);
  let readBytes = 0;
  for await (const chunk of stream) readBytes += (chunk as Buffer).length;
  expect(readBytes).toBe(pieces * piece.length);
});

test("a stream that libvirt aborts is destroyed with its error", async () => {
  libvirtd.script = ({ header }, connection) => {
    connection.reply(header, openConsole, {});
    connection.refuse({ ...header, type: MESSAGE_STREAM }, 38, "the console was taken by another client");
  };
  open();
  const opening = client.openStream(openConsole, { domain, device: undefined, flags: 0 }, { domain }, limit());
  await expect(opening.then((stream) => finished(stream))).rejects.toMatchObject({
    message: "the console was taken by another client",
    fault: { kind: "refused", code: 38 },
  });
});
