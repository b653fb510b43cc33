// Room that is reserved for what is packed, or of unknown length: all of it where its size is told, else a piece ahead.

import { zstdCompressSync } from "node:zlib";
import { expect, test } from "vitest";
import { type Room, withRoom } from "../../../src/images/room.ts";
import { unpack } from "../../../src/images/unpack.ts";
import { qcow2, raw } from "../../fakes/disk-image.ts";

const MIB = 1024 * 1024;
const { signal } = new AbortController();

/** A raw disk of so many bytes that says so; without a GPT it does not. */
function gptDisk(sizeBytes: number, saidBytes = sizeBytes): Buffer {
  const disk = raw(sizeBytes / 512);
  disk.write("EFI PART", 512, "latin1");
  disk.writeBigUInt64LE(BigInt(saidBytes / 512 - 1), 512 + 32);
  return disk;
}

class FakeRoom implements Room {
  leftBytes = 0;
  readonly raised: number[] = [];

  async raise(neededBytes: number): Promise<void> {
    this.leftBytes = Math.max(this.leftBytes, neededBytes);
    this.raised.push(neededBytes);
  }
}

async function passThrough(bytes: Buffer, told: number | undefined, fromBytes = 0): Promise<FakeRoom> {
  const room = new FakeRoom();
  async function* pieces() {
    for (let at = 0; at < bytes.length; at += MIB) yield bytes.subarray(at, at + MIB);
  }
  const passed: Uint8Array[] = [];
  const limits = { toldBytes: told, maxBytes: 1024 * MIB };
  for await (const piece of withRoom({ chunks: pieces(), fromBytes }, limits, room)) {
    room.leftBytes = Math.max(0, room.leftBytes - piece.length);
    passed.push(piece);
  }
  expect(Buffer.concat(passed).equals(bytes)).toBe(true);
  return room;
}

test("the disk's own word, by its GPT, is reserved before anything is written", async () => {
  expect((await passThrough(gptDisk(64 * MIB), undefined)).raised).toEqual([64 * MIB]);
});

test("so is the packer's", async () => {
  expect((await passThrough(raw(2 * 64 * 1024), 64 * MIB)).raised).toEqual([64 * MIB]);
});

test("what lies about its size is reserved for up to what is taken at all, or as it comes", async () => {
  expect((await passThrough(gptDisk(2 * MIB, 2 ** 62), undefined)).raised).toEqual([1024 * MIB]);
  expect((await passThrough(gptDisk(20 * MIB, MIB), undefined)).raised).toEqual([MIB, 18 * MIB, 18 * MIB]);
});

test("what does not tell is reserved for a piece ahead, a qcow2 by its file and not by its disk", async () => {
  expect((await passThrough(raw(2 * 40 * 1024), undefined)).raised).toEqual([0, 18 * MIB, 18 * MIB, 18 * MIB]);
  const room = await passThrough(qcow2({ virtualSizeBytes: 1n << 40n, l1Entries: 2048 }), undefined);
  expect(room.raised.every((bytes) => bytes < 19 * MIB)).toBe(true);
});

test("in the middle of a disk nothing is read as its beginning", async () => {
  expect((await passThrough(gptDisk(2 * MIB), undefined, 4096)).raised).toEqual([0, 18 * MIB]);
});

test.each([100, 5000, 100_000, 70_000_000])("zstd tells that it has %i bytes", async (lengthBytes) => {
  const packed = zstdCompressSync(Buffer.alloc(lengthBytes), { pledgedSrcSize: lengthBytes });
  const refuse = (finding: string): Error => new Error(finding);
  async function* pieces() {
    yield* [packed.subarray(0, 3), packed.subarray(3)];
  }
  const told = await unpack(pieces(), { maxVirtualSizeBytes: 1024 * MIB, refuse }, signal);
  expect(told).toMatchObject({ isPacked: true, toldBytes: lengthBytes });
});
