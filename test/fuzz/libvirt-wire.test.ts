import fc from "fast-check";
import { expect, test } from "vitest";
import { LibvirtFault } from "../../src/libvirt/client/fault.ts";
import { type Packet, PacketReader, packetBytes } from "../../src/libvirt/client/framing.ts";
import { events, procedures, refusal } from "../../src/libvirt/client/messages.ts";
import {
  array,
  type Codec,
  decode,
  encode,
  hyper,
  int,
  optional,
  string,
  struct,
  uhyper,
  uint,
  uuid,
} from "../../src/libvirt/client/xdr.ts";

const SMALL = { numRuns: 100 };
const word = fc.integer({ min: 0, max: 0xffffffff });

const aPacket = fc.record({
  header: fc.record({
    program: word,
    version: word,
    procedure: fc.integer({ min: -0x80000000, max: 0x7fffffff }),
    type: word,
    serial: word,
    status: word,
  }),
  payload: fc.uint8Array({ maxLength: 300 }).map((bytes) => Buffer.from(bytes)),
});

test("packets come out of a stream as they went in, however it is cut", () => {
  fc.assert(
    fc.property(fc.array(aPacket, { maxLength: 6 }), fc.array(fc.nat(400)), (packets, cuts) => {
      const stream = Buffer.concat(packets.map(({ header, payload }) => packetBytes(header, payload)));
      expect(readAll(cut(stream, cuts))).toEqual(packets);
    }),
    SMALL,
  );
});

test("a stream of anything gives packets or a fault, and holds no more than what came", () => {
  fc.assert(
    fc.property(fc.array(fc.uint8Array({ maxLength: 80 })), (chunks) => {
      expectFaultAtMost(() => readAll(chunks.map((chunk) => Buffer.from(chunk))));
    }),
    SMALL,
  );
});

test.each([0, 4, 27, 33_554_437, 0xffffffff])("a packet of %i bytes is no packet", (lengthBytes) => {
  const head = Buffer.alloc(4);
  head.writeUInt32BE(lengthBytes);
  expect(() => readAll([head])).toThrow(LibvirtFault);
});

const text = fc.string({ unit: "grapheme" }).map((value) => value.replaceAll("\0", "").toWellFormed());
const anUuid = fc.uuid();
const aDomain = fc.record({ name: text, uuid: anUuid, id: fc.integer() });
const domain = struct({ name: string, uuid, id: int });

test.each<[string, Codec<unknown>, fc.Arbitrary<unknown>]>([
  ["int", int, fc.integer()],
  ["uint", uint, word],
  ["hyper", hyper, fc.bigInt({ min: -(2n ** 63n), max: 2n ** 63n - 1n })],
  ["uhyper", uhyper, fc.bigInt({ min: 0n, max: 2n ** 64n - 1n })],
  ["string", string, text],
  ["uuid", uuid, anUuid],
  ["optional", optional(string), fc.option(text, { nil: undefined })],
  ["array", array(domain, 20), fc.array(aDomain, { maxLength: 20 })],
  [
    "refusal",
    refusal,
    fc.record({
      code: fc.integer(),
      domain: fc.integer(),
      message: fc.option(text, { nil: undefined }),
      level: fc.integer(),
      dom: fc.option(aDomain, { nil: undefined }),
      str1: fc.constant(undefined),
      str2: fc.option(text, { nil: undefined }),
      str3: fc.constant(undefined),
      int1: fc.integer(),
      int2: fc.integer(),
      net: fc.constant(undefined),
    }),
  ],
  [
    "stats",
    procedures.getAllDomainStats.reply,
    fc.record({
      records: fc.array(
        fc.record({
          domain: aDomain,
          params: fc.array(
            fc.record({
              field: text,
              value: fc.oneof(
                fc.record({ type: fc.constantFrom("int", "uint"), value: fc.nat() }),
                fc.record({ type: fc.constant("double"), value: fc.double({ noNaN: true }) }),
                fc.record({
                  type: fc.constantFrom("llong", "ullong"),
                  value: fc.bigInt({ min: 0n, max: 2n ** 63n - 1n }),
                }),
                fc.record({ type: fc.constant("boolean"), value: fc.boolean() }),
                fc.record({ type: fc.constant("string"), value: text }),
              ),
            }),
            { maxLength: 5 },
          ),
        }),
        { maxLength: 3 },
      ),
    }),
  ],
])("%s comes back as it went, in whole words, and truncated it is a fault", (_name, codec, values) => {
  fc.assert(
    fc.property(values, fc.nat(), (value, at) => {
      const bytes = encode(codec, value);
      expect(bytes.length % 4).toBe(0);
      expect(decode(codec, bytes)).toEqual(value);
      expect(() => decode(codec, bytes.subarray(0, at % bytes.length))).toThrow(LibvirtFault);
      expect(() => decode(codec, Buffer.concat([bytes, Buffer.alloc(4)]))).toThrow(LibvirtFault);
    }),
    SMALL,
  );
});

const layouts = [
  ...Object.values(procedures).map(({ name, reply }) => [name, reply] as const),
  ...events.map(({ type, body }) => [type, body] as const),
];

test.each(layouts)("any bytes as a reply of %s are decoded or a fault", (_name, layout) => {
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 200 }), (bytes) =>
      expectFaultAtMost(() => decode<unknown>(layout, Buffer.from(bytes))),
    ),
    SMALL,
  );
});

test("an array that announces more than it has takes no memory for what is not there", () => {
  const bytes = Buffer.alloc(8);
  bytes.writeUInt32BE(16_384);
  expect(() => decode(procedures.listAllDomains.reply, bytes)).toThrow(LibvirtFault);
  bytes.writeUInt32BE(0xffffffff);
  expect(() => decode(procedures.listAllDomains.reply, bytes)).toThrow(/at most 16384/);
});

test.each([
  ["a NUL in a string", () => encode(string, "a\0b")],
  ["a string over 4 MiB", () => encode(string, "x".repeat(4_194_305))],
  ["a number that does not fit", () => encode(int, 2 ** 31)],
  ["half a number", () => encode(uint, -1)],
  ["what is not a uuid", () => encode(uuid, "../../x")],
])("%s is refused before it is sent", (_what, act) => {
  expect(act).toThrow(expect.objectContaining({ fault: { kind: "unsendable" } }));
});

function readAll(chunks: readonly Buffer[]): Packet[] {
  const reader = new PacketReader();
  return chunks.flatMap((chunk) => [...reader.push(chunk)]);
}

function cut(stream: Buffer, cuts: readonly number[]): Buffer[] {
  const at = [0, ...cuts.map((place) => place % (stream.length + 1)).toSorted((a, b) => a - b), stream.length];
  return at.slice(1).map((end, index) => stream.subarray(at[index], end));
}

function expectFaultAtMost(act: () => unknown): void {
  try {
    act();
  } catch (error) {
    expect(error).toBeInstanceOf(LibvirtFault);
  }
}
