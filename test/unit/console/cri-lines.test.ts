import fc from "fast-check";
import { expect, test } from "vitest";
import { encodeLines, type Flush, markerLine } from "../../../src/console/cri-lines.ts";
import { contentOf, linesOf } from "./cri-log.ts";

const nowMs = Date.UTC(2026, 0, 2, 3, 4, 5, 67);
const encode = (text: string, flush: Flush = "waiting", maxLineBytes = 16) => {
  const { log, consumedBytes, isLineOpen } = encodeLines(Buffer.from(text, "latin1"), { nowMs, maxLineBytes, flush });
  return { lines: linesOf(log), consumedBytes, isLineOpen };
};

test("a line has the time with nine digits, the stream, the tag and the content", () => {
  const { log } = encodeLines(Buffer.from("hello\r\n"), { nowMs, maxLineBytes: 16, flush: "waiting" });
  expect(log.toString()).toBe("2026-01-02T03:04:05.067000000Z stdout F hello\n");
});

test("one CR before LF is dropped and every other is kept", () => {
  expect(encode("a\rb\r\r\n\r\n\n").lines).toEqual(["F a\rb\r", "F ", "F "]);
});

test("an unfinished line waits, is written as P when idle but for its last CR, and wholly at the end", () => {
  expect(encode("x\nlogin: \r")).toMatchObject({ lines: ["F x"], consumedBytes: 2, isLineOpen: false });
  expect(encode("login: \r", "idle")).toMatchObject({ lines: ["P login: "], consumedBytes: 7, isLineOpen: true });
  expect(encode("login: \r", "ended")).toMatchObject({ lines: ["P login: \r"], consumedBytes: 8 });
  expect(encode("\r", "idle")).toEqual({ lines: [], consumedBytes: 0, isLineOpen: undefined });
});

test("a long line is split into P pieces that end in F, and one of exactly the limit is not split", () => {
  expect(encode(`${"a".repeat(33)}\r\n`).lines).toEqual([`P ${"a".repeat(16)}`, `P ${"a".repeat(16)}`, "F a"]);
  expect(encode(`${"a".repeat(16)}\r\n`).lines).toEqual([`F ${"a".repeat(16)}`]);
  expect(encode("a".repeat(16))).toMatchObject({ lines: [], consumedBytes: 0 });
});

test("a split never parts CR from its LF", () => {
  expect(encode(`${"a".repeat(15)}\rb`).lines).toEqual([`P ${"a".repeat(15)}`]);
});

test("a marker stands on a line of its own", () => {
  expect(linesOf(markerLine("gone", { nowMs, closesLine: true }))).toEqual(["F ", "F [vmlet: gone]"]);
  expect(linesOf(markerLine("gone", { nowMs, closesLine: false }))).toEqual(["F [vmlet: gone]"]);
});

test("any bytes in any pieces with any flushes give a log whose content is the input with CR LF as LF", () => {
  const byte = fc.oneof(fc.constantFrom(10, 13, 0, 0x41, 0xff), fc.integer({ min: 0, max: 255 }));
  const piece = fc.tuple(
    fc
      .uint8Array({ maxLength: 60 })
      .chain((any) => fc.array(byte, { maxLength: 60 }).map((b) => Buffer.from([...any, ...b]))),
    fc.constantFrom<Flush>("waiting", "idle"),
  );
  fc.assert(
    fc.property(fc.array(piece, { maxLength: 12 }), fc.integer({ min: 2, max: 20 }), (pieces, maxLineBytes) => {
      const logs: Buffer[] = [];
      let waiting = Buffer.alloc(0);
      for (const [bytes, flush] of [...pieces, [Buffer.alloc(0), "ended"] as const]) {
        waiting = Buffer.concat([waiting, bytes]);
        const { log, consumedBytes } = encodeLines(waiting, { nowMs, maxLineBytes, flush });
        logs.push(log);
        waiting = waiting.subarray(consumedBytes);
        if (flush === "waiting") expect(waiting.length).toBeLessThanOrEqual(maxLineBytes);
      }
      expect(waiting.length).toBe(0);
      const input = Buffer.concat(pieces.map(([bytes]) => bytes)).toString("latin1");
      const log = Buffer.concat(logs);
      expect(contentOf(log)).toBe(input.replace(/\r\n/g, "\n"));
      for (const line of linesOf(log)) expect(line.length - 2).toBeLessThanOrEqual(maxLineBytes);
    }),
  );
});
