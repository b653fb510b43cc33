// Disk images that are almost right, or not at all, made from a seed: for fuzzing whoever reads their headers.

import { HEAD_BYTES, TAIL_BYTES } from "../../src/images/inspector.ts";
import { extension } from "./disk-image.ts";
import { type SeededRandom, seededRandom } from "./seeded-random.ts";

/** What the inspector is shown of a file. Between head and tail, if anything is there, it is zeros. */
export interface FuzzedImage {
  readonly head: Buffer;
  readonly tail: Buffer;
  readonly lengthBytes: number;
}

const SECTOR_BYTES = 512;
/** Behind which nothing of interest is: the inspector looks at an ISO's mark last. */
const DENSE_BYTES = 4096;
const LIMITS: readonly [bigint, ...bigint[]] = [
  0n,
  1n,
  0xffn,
  0x7fffffffn,
  0x80000000n,
  0xffffffffn,
  1n << 32n,
  1n << 40n,
];
const EXTENSION_TYPES: readonly [number, ...number[]] = [
  0, 0x6803f857, 0xe2792aca, 0x23852875, 0x0537be77, 0x44415441, 1,
];
const FOREIGN: readonly [string, ...string[]] = [
  "KDMV",
  "COWD",
  "conectix",
  "vhdxfile",
  "QED\0",
  "LUKS\xba\xbe",
  "WithoutFreeSpace",
  "# Disk DescriptorFile\nversion=1\n",
  "#\n\nversion=2\n",
  "<html>",
  "json:{",
  "\x1f\x8b",
  "koly",
  "CD001",
  "EFI PART",
  "QFI\xfb",
];

/** Endless; the same for the same seed. */
export function* fuzzedImages(seed: number): Generator<FuzzedImage, never, undefined> {
  const random = seededRandom(seed);
  for (;;) {
    const kind = random.below(10);
    const image = kind < 7 ? qcow2Like(random) : kind < 9 ? rawLike(random) : noise(random);
    if (random.oneIn(2)) yield image;
    else yield damaged(image, random);
  }
}

/** The whole file would be as large as its offsets say: only its length is. */
function qcow2Like(random: SeededRandom): FuzzedImage {
  const isV2 = random.oneIn(4);
  const clusterBits = 9 + random.below(13);
  const cluster = 2 ** clusterBits;
  const l2Covers = BigInt(cluster) * BigInt(cluster / 8);
  const mostBytes = l2Covers * 4_194_304n < 1n << 41n ? l2Covers * 4_194_304n : 1n << 41n;
  const virtualSize = ((random.wide() % (1n << BigInt(9 + random.below(33)))) / 512n + 1n) * 512n;
  const sizeBytes = virtualSize > mostBytes ? mostBytes : virtualSize;
  const l1Needed = Number((sizeBytes + l2Covers - 1n) / l2Covers);
  const l1Entries = l1Needed + (random.oneIn(4) ? random.below(1000) : 0);
  const tableClusters = 1 + (random.oneIn(4) ? random.below(Math.max(1, 2 ** 23 / cluster)) : 0);
  const l1Offset = BigInt(cluster) * BigInt(1 + tableClusters + random.below(4));
  const isZstd = !isV2 && random.oneIn(4);
  const headerLength = isV2 ? 72 : isZstd ? 112 : random.of([104, 112, 112, 120]);

  const lengthBytes = Number(l1Offset) + l1Entries * 8 + random.below(2) * cluster;
  const head = Buffer.alloc(Math.min(HEAD_BYTES, lengthBytes));
  head.write("QFI\xfb", 0, "latin1");
  head.writeUInt32BE(isV2 ? 2 : 3, 4);
  head.writeUInt32BE(clusterBits, 20);
  head.writeBigUInt64BE(sizeBytes, 24);
  head.writeUInt32BE(l1Entries, 36);
  head.writeBigUInt64BE(l1Offset, 40);
  head.writeBigUInt64BE(BigInt(cluster), 48);
  head.writeUInt32BE(tableClusters, 56);
  if (!isV2) {
    head.writeBigUInt64BE(isZstd ? 8n : 0n, 72);
    head.writeBigUInt64BE(random.oneIn(4) ? random.wide() : BigInt(random.below(2)), 80); // compatible: anything goes
    head.writeBigUInt64BE(random.oneIn(8) ? random.wide() & ~2n : 0n, 88);
    head.writeUInt32BE(random.oneIn(2) ? 4 : random.below(7), 96);
    head.writeUInt32BE(headerLength, 100);
    if (headerLength > 104) head.writeUInt8(isZstd ? 1 : 0, 104);
  }
  writeExtensions(head, headerLength, cluster, random);
  return { head, tail: Buffer.alloc(Math.min(TAIL_BYTES, lengthBytes)), lengthBytes };
}

function writeExtensions(head: Buffer, from: number, cluster: number, random: SeededRandom): void {
  let at = from;
  for (let count = random.below(4); count > 0; count--) {
    const isKnown = random.oneIn(8);
    const type = isKnown ? random.of(EXTENSION_TYPES) : random.of([0x6803f857, random.below(2 ** 31) + 1]);
    const entries = type === 0x6803f857 ? random.below(4) * 48 : random.below(80);
    const bytes = extension(type, Buffer.alloc(entries, random.below(256)));
    if (at + bytes.length + 8 > Math.min(cluster, head.length)) return;
    head.set(bytes, at);
    at += bytes.length;
  }
}

function rawLike(random: SeededRandom): FuzzedImage {
  const lengthBytes = (1 + random.below(random.oneIn(2) ? 16 : 65_536)) * SECTOR_BYTES;
  const head = Buffer.alloc(Math.min(HEAD_BYTES, lengthBytes));
  for (let at = 0; at < 440; at += 8) if (random.oneIn(3)) head.writeBigUInt64BE(random.wide(), at);
  if (!random.oneIn(8)) head.set([0x55, 0xaa], 510);
  if (random.oneIn(4) && head.length > SECTOR_BYTES) head.write("EFI PART", SECTOR_BYTES);
  return { head, tail: tailOf(head, lengthBytes), lengthBytes };
}

function noise(random: SeededRandom): FuzzedImage {
  const lengthBytes = random.below(random.oneIn(2) ? 200 : 2 * HEAD_BYTES);
  const head = Buffer.alloc(Math.min(HEAD_BYTES, lengthBytes));
  for (let at = 0; at + 8 <= Math.min(head.length, DENSE_BYTES); at += 8) head.writeBigUInt64BE(random.wide(), at);
  if (random.oneIn(2)) head.write("QFI\xfb", 0, "latin1");
  return { head, tail: tailOf(head, lengthBytes), lengthBytes };
}

function damaged(image: FuzzedImage, random: SeededRandom): FuzzedImage {
  const { head, tail } = image;
  let { lengthBytes } = image;
  for (let count = 1 + random.below(4); count > 0 && head.length > 0; count--) {
    const at = random.oneIn(4) ? random.below(head.length) : random.below(Math.min(head.length, 128));
    const how = random.below(8);
    if (how === 0) head[at] = (head[at] ?? 0) ^ (1 << random.below(8));
    if (how === 1) head[at] = random.of([0, 1, 0x7f, 0x80, 0xff]);
    if (how === 2 && at + 8 <= head.length) head.writeBigUInt64BE(random.of(LIMITS), at - (at % 8));
    if (how === 3 && at + 4 <= head.length) head.writeUInt32BE(Number(random.of(LIMITS) & 0xffffffffn), at - (at % 4));
    if (how === 4) head.write(random.of(FOREIGN), random.oneIn(2) ? 0 : at, "latin1");
    if (how === 5) tail.write(random.of(FOREIGN), 0, "latin1");
    if (how === 6) lengthBytes = Math.max(0, lengthBytes - random.below(random.oneIn(2) ? 1024 : lengthBytes + 1));
    if (how === 7) lengthBytes += random.below(100_000);
  }
  return {
    head: head.subarray(0, lengthBytes),
    tail: lengthBytes >= tail.length ? tail : tail.subarray(0, lengthBytes),
    lengthBytes,
  };
}

/** Where the file is short its tail is the end of its head. */
function tailOf(head: Buffer, lengthBytes: number): Buffer {
  const from = Math.max(0, lengthBytes - TAIL_BYTES);
  return lengthBytes <= head.length ? Buffer.from(head.subarray(from)) : Buffer.alloc(TAIL_BYTES);
}
