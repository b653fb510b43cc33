import { expect, test } from "vitest";
import { HEAD_BYTES, type InspectionLimits, inspect, refuseByHead, TAIL_BYTES } from "../../../src/images/inspector.ts";
import { extension, type Qcow2Fields, qcow2, raw } from "../../fakes/disk-image.ts";

const TIB = 1024 ** 4;
const limits: InspectionLimits = { maxVirtualSizeBytes: 2 * TIB, requireBootSignature: true, allowSnapshots: false };

function look(file: Uint8Array, use: InspectionLimits = limits) {
  return inspect(
    { head: file.subarray(0, HEAD_BYTES), tail: file.subarray(-TAIL_BYTES), lengthBytes: file.length },
    use,
  );
}

const latin = (text: string) => Buffer.from(text, "latin1");

function rawWith(bytes: Uint8Array, at = 0): Buffer {
  const file = raw(128);
  file.set(bytes, at < 0 ? file.length + at : at);
  return file;
}

test.each<[string, Qcow2Fields]>([
  ["version 3", {}],
  ["version 2", { version: 2 }],
  ["a header of 104 bytes", { headerLength: 104 }],
  ["small clusters", { clusterBits: 9, virtualSizeBytes: 32768n }],
  ["large clusters", { clusterBits: 21 }],
  ["zstd compression", { incompatible: 8n, compressionType: 1 }],
  ["a feature name table", { extensions: extension(0x6803f857, Buffer.alloc(384)) }],
  ["an unknown extension, which the format allows", { extensions: extension(0x12345678, Buffer.from("hi")) }],
])("takes qcow2 with %s", (_, fields) => {
  const virtualSizeBytes = Number(fields.virtualSizeBytes ?? 64n * 1024n * 1024n);
  expect(look(qcow2(fields))).toEqual({ isAccepted: true, format: "qcow2", virtualSizeBytes });
});

test.each<[string, Qcow2Fields, string]>([
  ["a backing file", { backingOffset: 200n, backingSize: 11 }, "backing file"],
  ["a backing file of no length", { backingOffset: 200n }, "backing file"],
  ["a backing file at no offset", { backingSize: 11 }, "backing file"],
  ["an external data file", { incompatible: 4n }, "external file"],
  ["the name of a data file alone", { extensions: extension(0x44415441, latin("/etc/shadow")) }, "external data file"],
  ["a name behind another extension", dataFileSecond(), "external data file"],
  ["a raw data file mark", { autoclear: 2n }, "data file"],
  ["AES encryption", { cryptMethod: 1 }, "encrypted"],
  ["LUKS encryption", { cryptMethod: 2 }, "encrypted"],
  ["an encryption header", { extensions: extension(0x0537be77, Buffer.alloc(16)) }, "encrypted"],
  ["persistent bitmaps", { extensions: extension(0x23852875, Buffer.alloc(24)) }, "bitmaps"],
  ["internal snapshots", { snapshots: 1 }, "snapshots"],
  ["the dirty mark", { incompatible: 1n }, "qemu-img check"],
  ["the corrupt mark", { incompatible: 2n }, "corrupt"],
  ["extended L2 entries", { incompatible: 16n }, "extended L2"],
  ["an unknown feature", { incompatible: 1n << 40n }, "unknown features"],
  ["unmarked compression", { compressionType: 1 }, "contradicts"],
  ["marked compression that is none", { incompatible: 8n }, "contradicts"],
  ["unknown compression", { incompatible: 8n, compressionType: 7 }, "unknown compression"],
  ["version 1", { version: 1 }, "version 1"],
  ["version 4", { version: 4 }, "version 4"],
  ["clusters of 2^8", { clusterBits: 8 }, "2^8"],
  ["clusters of 2^22", { clusterBits: 22 }, "2^22"],
  ["clusters of 2^4294967295", { clusterBits: 0xffffffff }, "2^4294967295"],
  ["refcounts of 2^7 bits", { refcountOrder: 7 }, "2^7"],
  ["a disk of 0 bytes", { virtualSizeBytes: 0n }, "0 bytes"],
  ["a disk that ends inside a sector", { virtualSizeBytes: 1000n }, "sector"],
  ["a disk of 3 TiB", { virtualSizeBytes: 3n * BigInt(TIB), l1Entries: 100_000 }, "maxVirtualSizeBytes"],
  ["a disk of 2^63 bytes", { virtualSizeBytes: 1n << 63n }, "maxVirtualSizeBytes"],
  ["too small an L1 table", { virtualSizeBytes: BigInt(TIB) }, "L1 table"],
  ["an absurd L1 table", { l1Entries: 0xffffffff }, "absurd"],
  ["an L1 table beyond the end", { l1Offset: 1n << 40n }, "cut short"],
  ["an L1 table inside the header", { l1Offset: 0n }, "impossible offset"],
  ["an L1 table off its cluster", { l1Offset: 65537n }, "impossible offset"],
  ["an L1 table at 2^60", { l1Offset: 1n << 60n }, "impossible offset"],
  ["no refcount table", { refcountTableClusters: 0 }, "no refcount table"],
  ["an absurd refcount table", { refcountTableClusters: 0xffffffff }, "absurdly large"],
  ["a header of 8 bytes", { headerLength: 8 }, "header of 8"],
  ["a header of 100 bytes", { headerLength: 100 }, "header of 100"],
  ["a header larger than its cluster", { clusterBits: 9, virtualSizeBytes: 32768n, headerLength: 520 }, "longer"],
  ["an extension that leaves its cluster", { extensions: extension(1, Buffer.alloc(0), 70_000) }, "runs out"],
  ["an extension of 4 GiB", { extensions: extension(1, Buffer.alloc(0), 0xffffffff) }, "runs out"],
  [
    "endless extensions",
    { extensions: Buffer.concat(Array.from({ length: 65 }, () => extension(9, Buffer.alloc(8)))) },
    "more than 64",
  ],
])("refuses qcow2 with %s, by its head alone or at the end", (_, fields, why) => {
  const verdict = look(qcow2(fields));
  expect(verdict).toEqual({ isAccepted: false, finding: expect.stringContaining(why) });
});

test("takes qcow2 with internal snapshots where that is allowed, and their table can be", () => {
  const allowing = { ...limits, allowSnapshots: true };
  const cluster = 65_536n;
  expect(look(qcow2({ snapshots: 2, snapshotsOffset: cluster }), allowing)).toMatchObject({ isAccepted: true });
  for (const [fields, why] of [
    [{ snapshots: 65_537, snapshotsOffset: cluster }, "absurd"],
    [{ snapshots: 1 }, "snapshot table at the impossible offset 0"],
    [{ snapshots: 1, snapshotsOffset: 1n << 40n }, "cut short"],
  ] as const) {
    expect(look(qcow2(fields), allowing)).toEqual({ isAccepted: false, finding: expect.stringContaining(why) });
  }
});

function dataFileSecond(): Qcow2Fields {
  return { extensions: Buffer.concat([extension(9, Buffer.alloc(3)), extension(0x44415441, latin("/etc/shadow"))]) };
}

test.each([
  ["VMDK", latin("KDMV"), 0],
  ["VMDK", latin("COWD"), 0],
  ["VMDK", [0xbe, 0xba, 0xfe, 0xca], 0],
  ["VMDK", latin("# Disk DescriptorFile\nversion=1\n"), 0],
  ["VMDK", latin("# anything\n\n  \nversion=3\n"), 0],
  ["VHD", latin("conectix"), 0],
  ["VHD", latin("conectix"), -512],
  ["VHDX", latin("vhdxfile"), 0],
  ["VDI", [0x7f, 0x10, 0xda, 0xbe], 64],
  ["QED", latin("QED\0"), 0],
  ["LUKS", latin("LUKS\xba\xbe"), 0],
  ["Parallels", latin("WithoutFreeSpace"), 0],
  ["Parallels", latin("WithouFreSpacExt"), 0],
  ["Bochs", latin("Bochs Virtual HD Image"), 0],
  ["cloop", latin("#!/bin/sh\n#V2.0 Format\n"), 0],
  ["DMG", latin("koly"), -512],
  ["gzip", [0x1f, 0x8b], 0],
  ["xz", [0xfd, 0x37, 0x7a, 0x58, 0x5a, 0], 0],
  ["zstd", [0x28, 0xb5, 0x2f, 0xfd], 0],
  ["tar", latin("ustar"), 257],
  ["text or web page", latin("<!DOCTYPE html><html>"), 0],
  ["text or web page", latin("json:{}"), 0],
])("refuses a bootable raw disk that is also %s", (name, magic, at) => {
  expect(look(rawWith(Buffer.from(magic), at))).toEqual({ isAccepted: false, finding: expect.stringContaining(name) });
});

test("takes raw disks with an MBR mark or a GPT header, and hybrid ISO images", () => {
  const accepted = { isAccepted: true, format: "raw", virtualSizeBytes: 65536 };
  expect(look(raw(128))).toEqual(accepted);
  for (const at of [512, 4096]) {
    const gpt = Buffer.alloc(65536);
    gpt.write("EFI PART", at);
    expect(look(gpt)).toEqual(accepted);
  }
  expect(look(rawWith(latin("CD001"), 0x8001))).toEqual(accepted);
});

test("refuses raw bytes that nothing shows to be a disk, unless that is switched off", () => {
  const file = Buffer.alloc(65536);
  expect(look(file)).toMatchObject({ finding: expect.stringContaining("images.requireBootSignature") });
  expect(look(file, { ...limits, requireBootSignature: false })).toMatchObject({ isAccepted: true, format: "raw" });
  const iso = Buffer.alloc(65536);
  iso.write("CD001", 0x8001);
  expect(look(iso, { ...limits, requireBootSignature: false })).toMatchObject({
    finding: expect.stringContaining("ISO 9660"),
  });
});

test("refuses raw disks that are empty, not whole sectors, or too large", () => {
  expect(look(Buffer.alloc(0))).toMatchObject({ finding: expect.stringContaining("empty") });
  expect(look(raw(128).subarray(0, 65000))).toMatchObject({ finding: expect.stringContaining("sectors") });
  expect(look(raw(128), { ...limits, maxVirtualSizeBytes: 1000 })).toMatchObject({ isAccepted: false });
});

test("a qcow2 file that ends before its tables is cut short", () => {
  const file = qcow2();
  for (const length of [10, 71, 72, 103, 104, 111, 512, 65536, 131072, file.length - 65536]) {
    expect(look(file.subarray(0, length))).toMatchObject({ isAccepted: false });
  }
});

test("the head alone is enough to refuse what its first 64 KiB show", () => {
  expect(refuseByHead(qcow2({ backingOffset: 9n }).subarray(0, HEAD_BYTES), limits)).toContain("backing file");
  expect(refuseByHead(Buffer.alloc(HEAD_BYTES), limits)).toContain("neither qcow2 nor a raw disk");
  expect(refuseByHead(qcow2().subarray(0, HEAD_BYTES), limits)).toBeUndefined();
});
