// Disk images as an enemy makes them, each after an attack that somebody's parser or guess once fell for.

import { gzipSync, zstdCompressSync } from "node:zlib";
import { extension, type Qcow2Fields, qcow2, raw } from "./disk-image.ts";
import { type MaliciousImage, reachingImages } from "./reaching-images.ts";

const CRYPTO = 0x0537be77;
const BITMAPS = 0x23852875;

const latin = (text: string): Buffer => Buffer.from(text, "latin1");

/** @param canaryPath A file of the host that none of them may reach, at least 63 sectors long. */
export function maliciousImages(canaryPath: string): readonly MaliciousImage[] {
  const reaching = reachingImages(canaryPath);
  return [...reaching, ...absurd(), ...disguised(), ...packed(reaching)];
}

function crafted(what: string, fields: Qcow2Fields): MaliciousImage {
  return { what: `qcow2 ${what}`, bytes: qcow2(fields) };
}

function absurd(): readonly MaliciousImage[] {
  return [
    crafted("of 2^63 bytes", { virtualSizeBytes: 1n << 63n }),
    crafted("of 3 TiB (CVE-2013-2096)", { virtualSizeBytes: 3n << 40n, l1Entries: 8000 }),
    crafted("of 0 bytes", { virtualSizeBytes: 0n }),
    crafted("with an L1 table of 4 billion entries", { l1Entries: 0xffffffff }),
    crafted("with too small an L1 table", { virtualSizeBytes: 1n << 40n }),
    crafted("with its L1 table over its header", { l1Offset: 0n }),
    crafted("with its L1 table at 2^60", { l1Offset: 1n << 60n }),
    crafted("with its L1 table off its cluster", { l1Offset: 65537n }),
    crafted("with its L1 table beyond its end", { l1Offset: 1n << 40n }),
    crafted("with an absurd refcount table", { refcountTableClusters: 0xffffffff }),
    crafted("without a refcount table", { refcountTableClusters: 0 }),
    crafted("with its refcount table over its header", { refcountTableOffset: 0n }),
    crafted("with refcounts of 2^63 bits", { refcountOrder: 63 }),
    crafted("with clusters of a byte", { clusterBits: 0 }),
    crafted("with clusters of 2^63 bytes", { clusterBits: 63 }),
    crafted("with a header of 4 GiB", { headerLength: 0xfffffff8 }),
    crafted("with a header of nothing", { headerLength: 0 }),
    crafted("with an extension of 4 GiB", { extensions: extension(1, Buffer.alloc(0), 0xffffffff) }),
    crafted("with extensions without end", {
      extensions: Buffer.concat(Array.from({ length: 2000 }, () => extension(9, Buffer.alloc(8)))),
    }),
    crafted("with 4 billion snapshots", { snapshots: 0xffffffff }),
    crafted("with one snapshot", { snapshots: 1 }),
    crafted("with AES encryption", { cryptMethod: 1 }),
    crafted("with LUKS encryption", { cryptMethod: 2 }),
    crafted("with an encryption header", { extensions: extension(CRYPTO, Buffer.alloc(16)) }),
    crafted("with bitmaps", { extensions: extension(BITMAPS, Buffer.alloc(24)) }),
    crafted("with subclusters", { incompatible: 16n }),
    crafted("with an unknown feature", { incompatible: 1n << 63n }),
    crafted("that is marked dirty", { incompatible: 1n }),
    crafted("that is marked corrupt", { incompatible: 2n }),
    crafted("of version 1", { version: 1 }),
    crafted("of version 4294967295", { version: 0xffffffff }),
    { what: "qcow2 that is a header alone", bytes: qcow2().subarray(0, 104) },
    { what: "qcow2 that is its magic alone", bytes: latin("QFI\xfb") },
  ];
}

/** Each a bootable raw disk to whoever looks at the boot sector alone (CVE-2024-40767). */
function disguised(): readonly MaliciousImage[] {
  const as = (what: string, bytes: Uint8Array, at = 0): MaliciousImage => {
    const file = raw(2048);
    file.set(bytes, at < 0 ? file.length + at : at);
    return { what: `raw that is ${what}`, bytes: file };
  };
  const iso = Buffer.alloc(1024 * 1024);
  iso.write("CD001", 0x8001);
  return [
    as("a VMDK descriptor behind comments", latin('# hello\n\nversion=1\nRW 63 FLAT "/etc/shadow" 0\n')),
    as("a VMDK (CVE-2026-2243)", latin("KDMV")),
    as("an ESX VMDK", latin("COWD")),
    as("a VHD", latin("conectix")),
    as("a VHD by its end", latin("conectix"), -512),
    as("a VHDX", latin("vhdxfile")),
    as("a VDI", Buffer.from([0x7f, 0x10, 0xda, 0xbe]), 64),
    as("a QED", latin("QED\0")),
    as("a LUKS volume", latin("LUKS\xba\xbe")),
    as("a Parallels disk", latin("WithoutFreeSpace")),
    as("an extended Parallels disk", latin("WithouFreSpacExt")),
    as("a Bochs disk", latin("Bochs Virtual HD Image")),
    as("a cloop disk", latin("#!/bin/sh\n#V2.0 Format\n")),
    as("a DMG by its end", latin("koly"), -512),
    as("a json: pseudo file", latin(`json:{"driver":"raw"}`)),
    as("a tar archive", latin("ustar"), 257),
    { what: "an ISO image that no disk boots from", bytes: iso },
    { what: "raw that is no disk", bytes: Buffer.alloc(1024 * 1024, 7) },
    { what: "raw of half a sector", bytes: raw(2048).subarray(0, 1024 * 1024 - 100) },
  ];
}

/** The same through the unpackers. */
function packed(images: readonly MaliciousImage[]): readonly MaliciousImage[] {
  return images
    .filter(({ isReaching }) => isReaching)
    .map(({ what, bytes }, index) => ({
      what: `${index % 2 === 0 ? "gzip" : "zstd"} of ${what}`,
      bytes: index % 2 === 0 ? gzipSync(bytes) : zstdCompressSync(bytes),
    }));
}
