// Which file of an image's layers is the disk, and what is refused. The tar reader is tried with it.

import { execFileSync } from "node:child_process";
import { closeSync, mkdirSync, mkdtempSync, openSync, rmSync, truncateSync, writeFileSync, writeSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect, test } from "vitest";
import { findDisk } from "../../../../src/images/oci/container-disk.ts";
import { pax, sealed, type TarFile, tar, tarEntry } from "../../../fakes/tar-archive.ts";

/** In pieces of an odd length, as they come from a network. */
async function* pieces(bytes: Uint8Array, length = 333): AsyncGenerator<Uint8Array> {
  for (let at = 0; at < bytes.length; at += length) yield bytes.subarray(at, at + length);
}

/** The disk's text in the image with these layers, lowest first; notes which were opened. */
async function read(layers: readonly (readonly TarFile[] | Uint8Array)[], opened: number[] = []): Promise<string> {
  const open = layers.map((layer, index) => () => {
    opened.push(index);
    return pieces(layer instanceof Uint8Array ? layer : tar(layer));
  });
  const { path, chunks, lengthBytes } = await findDisk("img", open);
  const parts: Uint8Array[] = [];
  for await (const chunk of chunks) parts.push(chunk);
  const bytes = Buffer.concat(parts);
  expect(bytes.length).toBe(lengthBytes);
  return `${path}=${bytes.toString()}`;
}

const file = (path: string, text = "x"): TarFile => ({ path, bytes: Buffer.from(text) });
const folder = (path: string): TarFile => ({ path, type: "5" });
const refuses = async (layers: readonly (readonly TarFile[] | Uint8Array)[], message: string | RegExp) => {
  const reading = read(layers);
  await expect(reading).rejects.toMatchObject({ failure: { code: "IMAGE_REFUSED" } });
  await expect(reading).rejects.toThrow(message);
};

test.each(["disk/a.qcow2", "./disk/a.qcow2", "/disk/a.qcow2", "disk//a.qcow2", "./././disk/a.qcow2"])(
  "the file is found as %s",
  async (path) => {
    expect(await read([[folder("disk/"), file(path, "bytes")]])).toBe("disk/a.qcow2=bytes");
  },
);

test("files elsewhere do not count, nor do folders", async () => {
  const layer = [file("etc/os-release"), file("diskette"), folder("disk"), folder("disk/sub"), file("disk/a", "yes")];
  expect(await read([layer, [file("var/disk/b")]])).toBe("disk/a=yes");
});

test("the disk of a layer above takes the place of one below", async () => {
  expect(await read([[file("disk/a", "old")], [file("disk/a", "new")]])).toBe("disk/a=new");
});

test("a whiteout removes the file below it, whatever stands first in its layer", async () => {
  const below = [file("disk/old.img", "old")];
  expect(await read([below, [file("disk/.wh.old.img"), file("disk/a", "new")]])).toBe("disk/a=new");
  expect(await read([below, [file("disk/a", "new"), file("disk/.wh.old.img")]])).toBe("disk/a=new");
  await refuses([below, [file("disk/.wh.old.img")]], "no file under disk/");
});

test.each([
  ["an opaque folder", file("disk/.wh..wh..opq")],
  ["a removed folder", file(".wh.disk")],
  ["an opaque root", file(".wh..wh..opq")],
])("%s hides all that is below, and no layer below is fetched", async (_what, hiding) => {
  const opened: number[] = [];
  const layers = [[file("disk/old")], [file("x")], [hiding, file("disk/a", "new")]];
  expect(await read(layers, opened)).toBe("disk/a=new");
  expect(opened).toEqual([2]);
});

test("a whiteout says nothing of its own layer and those above", async () => {
  expect(await read([[file("disk/.wh.a"), file("disk/a", "same")]])).toBe("disk/a=same");
  expect(await read([[file("disk/.wh.a")], [file("disk/a", "above")]])).toBe("disk/a=above");
});

test("a file in the place of the folder hides the folder", async () => {
  await refuses([[file("disk/a")], [file("disk")]], "no file under disk/");
});

test("two disks are refused by their names, in one layer or in two", async () => {
  await refuses([[file("disk/a"), file("disk/b")]], "disk/a, disk/b");
  await refuses([[file("disk/a")], [file("disk/b")]], "disk/b, disk/a");
  await refuses([[file("disk/a"), file("disk/a")]], "more than one");
  await refuses([[file("disk/a"), file("disk/sub/b")]], "disk/sub/b");
});

test("a container image is refused as one", async () => {
  await refuses([[file("bin/sh")], [file("etc/passwd")]], "container images cannot run here");
  await refuses([[]], "no file under disk/");
});

test.each([
  ["a symbolic link", "2"],
  ["a hard link", "1"],
  ["a sparse file", "S"],
])("%s is no disk", async (what, type) => {
  await refuses([[{ path: "disk/a", type }]], `disk/a is ${what}`);
});

test("long names and large sizes come from extended headers", async () => {
  const long = `disk/${"n".repeat(150)}.qcow2`;
  const shown = `${long.slice(0, 100)}…`;
  expect(await read([[pax({ path: long, mtime: "1.5" }), file("disk/cut", "pax")]])).toBe(`${shown}=pax`);
  expect(await read([[{ path: "././@LongLink", type: "L", bytes: Buffer.from(`${long}\0`) }, file("x", "gnu")]])).toBe(
    `${shown}=gnu`,
  );
  expect(await read([[pax({ size: "3" }), { path: "disk/a", bytes: Buffer.from("abc"), sizeBytes: 0 }]])).toBe(
    "disk/a=abc",
  );
  const base256 = tarEntry(file("disk/a", "abc"));
  base256.fill(0, 124, 136);
  base256[124] = 0x80;
  base256[135] = 3;
  sealed(base256.subarray(0, 512));
  expect(await read([Buffer.concat([base256, Buffer.alloc(1024)])])).toBe("disk/a=abc");
});

test.each(["1", "2", "3", "4", "5", "6"])(
  "a link, folder or device (%s) has no bytes, whatever its size",
  async (type) => {
    expect(await read([[{ path: "etc/x", type, sizeBytes: 4096 }, file("disk/a", "yes")]])).toBe("disk/a=yes");
  },
);

test("a global header and an archive without an end mark are taken", async () => {
  const global: TarFile = { ...pax({ comment: "c" }), type: "g" };
  expect(await read([Buffer.concat([tarEntry(global), tarEntry(file("disk/a", "bytes"))])])).toBe("disk/a=bytes");
});

test("more headers than an image has are refused, counted over all layers, extended ones too", async () => {
  const some = Array.from({ length: 50 }, () => folder("etc"));
  const longer = Array.from({ length: 25 }, () => ({ ...pax({ comment: "c" }), type: "g" }));
  const layers = [some, longer, longer, [file("disk/a")]].map((layer) => () => pieces(tar(layer)));
  const readWithin = async (maxEntries: number) => Array.fromAsync((await findDisk("img", layers, maxEntries)).chunks);
  expect(await readWithin(101)).toHaveLength(1);
  await expect(readWithin(100)).rejects.toThrow("far too many entries");
});

test("removals beyond measure, and names beyond what a file system takes, are not kept in memory", async () => {
  const removals = (count: number, name: string) =>
    Array.from({ length: count }, (_, index) => file(`disk/.wh.${name}${index}`, ""));
  await refuses([[file("disk/a")], removals(600, "x"), removals(600, "y")], "too many entries under disk/");
  const long = `disk/.wh.${"n".repeat(5000)}`;
  await refuses([[file("disk/a")], [pax({ path: long }), file("x", "")]], "longer than 4096");
});

test.each<[string, Uint8Array, string]>([
  ["no tar at all", Buffer.alloc(2048, "7"), "checksum"],
  ["an end in the middle of a file", tar([file("disk/a", "x".repeat(2000))]).subarray(0, 1000), "ends in the middle"],
  ["an end in the middle of a header", tar([file("disk/a")]).subarray(0, 300), "ends in the middle"],
  ["a way out", tar([file("disk/../../etc/passwd")]), '".."'],
  ["an endless name", tar([{ path: "x", type: "L", bytes: Buffer.alloc(300_000, 97) }]), "too long"],
  ["a broken pax header", tar([{ path: "x", type: "x", bytes: Buffer.from("9999999 path=a\n") }]), "extended header"],
  [
    "a pax record that ends in its name",
    tar([{ path: "x", type: "x", bytes: Buffer.from("7 path=\n8 path=a\n") }]),
    "extended header",
  ],
  ["a pax length of nothing", tar([{ path: "x", type: "x", bytes: Buffer.from("0 path=a\n") }]), "extended header"],
  ["a size beyond all", tar([pax({ size: "9".repeat(16) }), file("disk/a")]), "cannot be"],
])("%s is refused", async (_what, bytes, message) => {
  await refuses([bytes], message);
});

test("what GNU tar makes is read, with long names and sparse files; a disk that is one is refused", async () => {
  const root = mkdtempSync(join(tmpdir(), "vmlet-tar-"));
  try {
    const name = `${"long".repeat(40)}.img`;
    mkdirSync(join(root, "disk"));
    writeFileSync(join(root, "disk", name), "from tar");
    for (const format of ["gnu", "pax", "posix"]) {
      const made = execFileSync("tar", ["-C", root, `--format=${format}`, "-cf", "-", "disk"]);
      expect(await read([made])).toContain("=from tar");
    }
    truncateSync(join(root, "disk", name), 1024 * 1024);
    for (const format of ["gnu", "pax"]) {
      const made = execFileSync("tar", ["-C", root, `--format=${format}`, "-S", "-cf", "-", "disk"]);
      await refuses([made], "sparse file");
    }
    const holes = openSync(join(root, "holes"), "w");
    for (let at = 0; at < 100; at++) writeSync(holes, "x", at * 1024 * 1024);
    closeSync(holes);
    writeFileSync(join(root, "disk", name), "from tar");
    for (const format of ["gnu", "pax"]) {
      const made = execFileSync("tar", ["-C", root, `--format=${format}`, "-S", "-cf", "-", "holes", "disk"]);
      expect(await read([made])).toContain("=from tar");
    }
  } finally {
    rmSync(root, { recursive: true });
  }
});
