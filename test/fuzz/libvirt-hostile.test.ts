import fc from "fast-check";
import { expect, test } from "vitest";
import { CLIENT_DEFAULTS, LibvirtClient } from "../../src/libvirt/client/client.ts";
import { LibvirtFault } from "../../src/libvirt/client/fault.ts";
import { MESSAGE_REPLY, packetBytes } from "../../src/libvirt/client/framing.ts";
import { procedures } from "../../src/libvirt/client/messages.ts";
import { FakeLibvirtd, type Script } from "../fakes/libvirtd.ts";

const limit = (): AbortSignal => AbortSignal.timeout(10_000);
const { listAllDomains } = procedures;
const word = fc.integer({ min: 0, max: 0xffffffff });
const bytes = fc.uint8Array({ maxLength: 120 });

/** What a hostile or broken libvirtd sends instead of a reply. */
const hostile: fc.Arbitrary<Script> = fc.oneof(
  bytes.map(
    (raw): Script =>
      (_packet, connection) =>
        connection.raw(raw),
  ),
  bytes.map(
    (payload): Script =>
      ({ header }, connection) =>
        connection.raw(packetBytes({ ...header, type: MESSAGE_REPLY }, payload)),
  ),
  fc.record({ type: word, status: word, serial: word, program: word, version: word }).map(
    (odd): Script =>
      ({ header }, connection) =>
        connection.raw(packetBytes({ ...header, ...odd }, Buffer.alloc(8))),
  ),
  fc.record({ type: fc.nat(6), status: fc.nat(3), payload: bytes }).map(
    ({ type, status, payload }): Script =>
      ({ header }, connection) =>
        connection.raw(packetBytes({ ...header, type, status }, payload)),
  ),
  fc.nat(60).map(
    (length): Script =>
      ({ header }, connection) => {
        const whole = packetBytes({ ...header, type: MESSAGE_REPLY }, Buffer.alloc(64));
        connection.socket.end(whole.subarray(0, length));
      },
  ),
  fc.tuple(fc.constantFrom(318, 319, 324, 348), bytes).map(
    ([procedure, payload]): Script =>
      ({ header }, connection) =>
        connection.raw(packetBytes({ ...header, type: 2, procedure, serial: 0 }, payload)),
  ),
);

test("whatever libvirtd sends for a reply, the call settles, and the next call to a sane one works", async () => {
  await using libvirtd = await FakeLibvirtd.start();
  using client = new LibvirtClient({
    ...CLIENT_DEFAULTS,
    socketPath: libvirtd.socketPath,
    reconnectWaitMs: 2_000,
    limitMs: { read: 40, lifecycle: 40, slow: 40 },
  });
  await fc.assert(
    fc.asyncProperty(hostile, async (script) => {
      libvirtd.script = script;
      const args = { needResults: 1, flags: 0 };
      const outcome = await client.call(listAllDomains, args, {}, limit()).catch((error: unknown) => error);
      if (outcome instanceof Error) expect(outcome).toBeInstanceOf(LibvirtFault);
      libvirtd.script = ({ header }, connection) => connection.reply(header, listAllDomains, { domains: [], count: 0 });
      // What it left half-sent on the connection may still take a call or two with it.
      const sane = () => client.call(listAllDomains, args, {}, limit()).catch(() => undefined);
      await expect.poll(sane, { timeout: 5_000 }).toEqual({ domains: [], count: 0 });
      libvirtd.connections.forEach(({ socket }) => socket.destroy());
    }),
    { numRuns: 40 },
  );
}, 60_000);
