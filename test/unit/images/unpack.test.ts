// How much may come out of little: what an honest disk packs to, and what is taken for a bomb.

import { randomBytes } from "node:crypto";
import { zstdCompressSync } from "node:zlib";
import { expect, test } from "vitest";
import { unpack } from "../../../src/images/unpack.ts";

const signal = AbortSignal.timeout(60_000);
const MIB = 1024 * 1024;

/** @returns how many bytes come out of `data` and then `mib` MiB of `fill`. */
async function unpackedBytes(data: Buffer, fill: number, mib: number): Promise<number> {
  const frame = zstdCompressSync(Buffer.alloc(16 * MIB, fill));
  async function* wire(): AsyncGenerator<Uint8Array, void, undefined> {
    yield zstdCompressSync(data);
    for (let at = 0; at < mib; at += 16) yield frame;
  }
  const limits = { maxVirtualSizeBytes: 2 ** 41, refuse: (finding: string) => new Error(finding) };
  const { chunks } = await unpack(wire(), limits, signal);
  let bytes = 0;
  for await (const chunk of chunks) bytes += chunk.length;
  return bytes;
}

test("a large disk with little in it is no bomb: its zeros take no room", async () => {
  expect(await unpackedBytes(randomBytes(MIB), 0, 1200)).toBe(1201 * MIB);
});

test.each([
  ["of anything else", randomBytes(MIB), 1, 1200],
  ["of zeros beyond measure", randomBytes(1024), 0, 1200],
])("a bomb %s is stopped soon after its first GiB", async (_what, data, fill, mib) => {
  await expect(unpackedBytes(data, fill, mib)).rejects.toThrow("taken for a bomb");
});
