import { expect, test } from "vitest";
import { ByteCutter } from "../../../src/lib/byte-cutter.ts";
import { ChunkQueue } from "../../../src/lib/chunk-queue.ts";

const text = Buffer.alloc(20_000, "0123456789abc");

test("small chunks are joined, in their order; large ones stay views of what was given", () => {
  const queue = new ChunkQueue();
  for (const byte of text.subarray(0, 10_000)) queue.push(Buffer.of(byte));
  const large = text.subarray(10_000);
  queue.push(large);
  const chunks = Array.from({ length: 4 }, () => queue.take() as Buffer);
  expect(Buffer.concat(chunks).equals(text)).toBe(true);
  expect(chunks[3]).toBe(large);
  expect(queue.take()).toBeUndefined();
});

test("what was given and what was taken stays as it is", () => {
  const queue = new ChunkQueue();
  const given = Buffer.from("abcdef");
  queue.push(given.subarray(0, 2));
  queue.push(Buffer.from("xy"));
  queue.push(Buffer.from("z"));
  const taken = queue.take();
  queue.push(Buffer.from("1"));
  queue.push(Buffer.from("2"));
  expect([given, taken, queue.take()].map(String)).toEqual(["abcdef", "abxyz", "12"]);
});

test.each([1, 3, 5_000, 20_000])("pieces are cut the same out of chunks of %i bytes", (size) => {
  const cutter = new ByteCutter({ prefixBytes: 4, sizeOf: (prefix) => prefix.readUInt32BE(0) });
  const pieces = [4, 5, 9_000, 20, 4_100].map((length) => {
    const piece = Buffer.from(text.subarray(0, length));
    piece.writeUInt32BE(length);
    return piece;
  });
  const stream = Buffer.concat(pieces);
  const cut: Buffer[] = [];
  for (let at = 0; at < stream.length; at += size) cut.push(...cutter.push(stream.subarray(at, at + size)));
  expect(cut).toEqual(pieces);
  expect(cutter.heldBytes).toBe(0);
});
