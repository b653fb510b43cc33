import { constants, createDeflate, deflateSync } from "node:zlib";
import fc from "fast-check";
import { expect, test } from "vitest";
import { DICTIONARY } from "../../../src/streaming/spdy/dictionary.ts";
import {
  dataHeader,
  type Frame,
  FrameReader,
  goAwayFrame,
  MAX_CONTROL_BYTES,
  pingFrame,
  resetFrame,
  synReplyFrame,
  synStreamFrame,
} from "../../../src/streaming/spdy/frames.ts";
import { HeaderReader, HeaderWriter } from "../../../src/streaming/spdy/headers.ts";

const streamIds = fc.integer({ min: 1, max: 0x7fff_ffff });
const blocks = fc.uint8Array({ maxLength: 300 }).map((bytes) => Buffer.from(bytes));

/** The frame that should be read, and its bytes. */
const written: fc.Arbitrary<readonly [Frame, Buffer]> = fc.oneof(
  fc
    .tuple(streamIds, blocks, fc.boolean())
    .map(
      ([streamId, block, isFin]) =>
        [{ type: "syn-stream" as const, streamId, block, isFin }, synStreamFrame(streamId, block, { isFin })] as const,
    ),
  fc
    .tuple(streamIds, blocks)
    .map(
      ([streamId, block]) =>
        [{ type: "syn-reply" as const, streamId, block, isFin: false }, synReplyFrame(streamId, block)] as const,
    ),
  fc
    .tuple(streamIds, blocks, fc.boolean())
    .map(
      ([streamId, bytes, isFin]) =>
        [
          { type: "data" as const, streamId, bytes, isFin },
          Buffer.concat([dataHeader(streamId, bytes.length, { isFin }), bytes]),
        ] as const,
    ),
  streamIds.map((streamId) => [{ type: "reset" as const, streamId }, resetFrame(streamId, 5)] as const),
  fc.integer({ min: 0, max: 0xffff_ffff }).map((id) => [{ type: "ping" as const, id }, pingFrame(id)] as const),
  streamIds.map((id) => [{ type: "go-away" as const }, goAwayFrame(id, { isProtocolError: false })] as const),
);

test("frames come out as they went in, however the bytes are cut", () => {
  fc.assert(
    fc.property(fc.array(written, { maxLength: 12 }), fc.array(fc.integer({ min: 1, max: 40 })), (frames, cuts) => {
      const bytes = Buffer.concat(frames.map(([, encoded]) => encoded));
      expect(joined(readInPieces(bytes, cuts))).toEqual(joined(frames.map(([frame]) => frame)));
    }),
  );
});

test("any bytes are frames or refused, and nothing is kept of them", () => {
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 2_000 }), fc.array(fc.integer({ min: 1, max: 99 })), (bytes, cuts) => {
      try {
        for (const frame of readInPieces(Buffer.from(bytes), cuts)) expect(frame.type).not.toBe("");
      } catch (error) {
        expect(error).toMatchObject({ name: "SpdyError" });
      }
    }),
  );
});

test("a control frame that claims too much is refused by its header", () => {
  const header = Buffer.from([0x80, 3, 0, 4, 0, ...uint24(MAX_CONTROL_BYTES + 1)]);
  expect(() => [...new FrameReader().read(header)]).toThrow("a control frame of 65537 bytes");
});

test("a data frame that claims 16 MiB is passed on as it comes", () => {
  const reader = new FrameReader();
  const header = dataHeader(1, 0xff_ffff, { isFin: true });
  expect([...reader.read(Buffer.concat([header, Buffer.from("abc")]))]).toEqual([
    { type: "data", streamId: 1, bytes: Buffer.from("abc"), isFin: false },
  ]);
});

test("settings, however many, window updates and unknown frames are skipped", () => {
  const settings = Buffer.concat([Buffer.from([0x80, 3, 0, 4, 0, ...uint24(8_004)]), Buffer.alloc(8_004, 0xff)]);
  const update = Buffer.from([0x80, 3, 0, 9, 0, 0, 0, 8, 0, 0, 0, 1, 0, 0, 0, 9]);
  const unknown = Buffer.from([0x80, 3, 0, 99, 0, 0, 0, 1, 0]);
  const bytes = Buffer.concat([settings, update, unknown, pingFrame(1)]);
  expect(readInPieces(bytes, [])).toEqual([{ type: "ping", id: 1 }]);
});

test("headers come out as they went in, block after block", async () => {
  using reader = new HeaderReader();
  const writer = new HeaderWriter();
  const pairs = fc.dictionary(fc.stringMatching(/^[a-z]{1,20}$/), fc.string({ unit: "grapheme", maxLength: 60 }));
  await fc.assert(
    fc.asyncProperty(pairs, async (given) => {
      const headers = new Map(Object.entries(given));
      expect(await reader.read(writer.write(headers))).toEqual(headers);
    }),
  );
});

test("a block ends with zlib's mark of a flush, without which Go's reader gives nothing out", () => {
  const writer = new HeaderWriter();
  for (const headers of [new Map<string, string>(), new Map([["a", "b"]])])
    expect(writer.write(headers).subarray(-5)).toEqual(Buffer.from([0, 0, 0, 0xff, 0xff]));
});

test("headers that a real zlib has packed, in one window, are read", async () => {
  using reader = new HeaderReader();
  const deflate = createDeflate({ dictionary: DICTIONARY });
  for (const streamtype of ["error", "stdin", "stdout"]) {
    const packed = Promise.withResolvers<Buffer>();
    const chunks: Buffer[] = [];
    deflate.removeAllListeners("data").on("data", (chunk: Buffer) => chunks.push(chunk));
    deflate.write(pairsOf([["streamtype", streamtype]]));
    deflate.flush(constants.Z_SYNC_FLUSH, () => setImmediate(() => packed.resolve(Buffer.concat(chunks))));
    expect(await reader.read(await packed.promise)).toEqual(new Map([["streamtype", streamtype]]));
  }
});

test.for([
  ["unpack to 50 MiB", deflated(Buffer.alloc(50 << 20)), "headers of more than 4096 bytes"],
  ["are a million", deflated(Buffer.from([0, 0x0f, 0x42, 0x40])), "1000000 headers"],
  ["claim a name of 4 GiB", deflated(Buffer.from([0, 0, 0, 1, 0xff, 0xff, 0xff, 0xff])), "headers that end too early"],
  ["are cut off", deflated(pairsOf([["streamtype", "error"]]).subarray(0, 20)), "headers that end too early"],
  ["are followed by more", deflated(Buffer.concat([pairsOf([]), Buffer.from("x")])), "bytes behind the headers"],
  ["are no zlib", Buffer.from("not compressed at all"), "headers that do not unpack"],
  ["are nothing", Buffer.alloc(0), "headers that end too early"],
] as const)("headers that %s are refused", async ([, block, message]) => {
  using reader = new HeaderReader();
  await expect(reader.read(block)).rejects.toThrow(message);
});

test("a block after the end of the compressed stream is refused, not waited for", async () => {
  using reader = new HeaderReader();
  await reader.read(deflated(pairsOf([]))); // deflateSync ends its stream
  await expect(reader.read(deflated(pairsOf([])))).rejects.toMatchObject({ name: "SpdyError" });
});

test("reading headers ends when the connection does", async () => {
  const reader = new HeaderReader();
  const reading = reader.read(new HeaderWriter().write(new Map()));
  reader[Symbol.dispose]();
  await expect(reading).rejects.toMatchObject({ name: "SpdyError" });
});

function readInPieces(bytes: Buffer, cuts: readonly number[]): Frame[] {
  const reader = new FrameReader();
  const frames: Frame[] = [];
  let at = 0;
  for (const cut of cuts) {
    frames.push(...reader.read(bytes.subarray(at, at + cut)));
    at += cut;
  }
  frames.push(...reader.read(bytes.subarray(at)));
  return frames;
}

/** Pieces of data that follow each other on one stream as one, and empty ones not at all. */
function joined(frames: readonly Frame[]): Frame[] {
  const result: Frame[] = [];
  for (const frame of frames) {
    const last = result.at(-1);
    if (frame.type === "data" && last?.type === "data" && last.streamId === frame.streamId && !last.isFin)
      result[result.length - 1] = { ...frame, bytes: Buffer.concat([last.bytes, frame.bytes]) };
    else if (frame.type !== "data" || frame.bytes.length > 0 || frame.isFin) result.push(frame);
  }
  return result;
}

function deflated(bytes: Buffer): Buffer {
  return deflateSync(bytes, { dictionary: DICTIONARY });
}

function pairsOf(pairs: readonly (readonly [string, string])[]): Buffer {
  const sized = (text: string): Buffer => Buffer.concat([uint32(text.length), Buffer.from(text)]);
  return Buffer.concat([uint32(pairs.length), ...pairs.flatMap(([name, value]) => [sized(name), sized(value)])]);
}

function uint32(value: number): Buffer {
  const bytes = Buffer.alloc(4);
  bytes.writeUInt32BE(value);
  return bytes;
}

function uint24(value: number): number[] {
  return [(value >> 16) & 0xff, (value >> 8) & 0xff, value & 0xff];
}
