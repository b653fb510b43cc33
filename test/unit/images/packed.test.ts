// Packed downloads: unpacked as they come, pinned by what comes over the wire, stopped when absurd.

import { execFileSync } from "node:child_process";
import { createHash, randomBytes } from "node:crypto";
import { gzipSync, zstdCompressSync } from "node:zlib";
import { expect, test } from "vitest";
import { qcow2, raw } from "../../fakes/disk-image.ts";
import { agreeingQemuImg, openDiskStore } from "../../fakes/disk-image-store.ts";

const signal = AbortSignal.timeout(60_000);
const MIB = 1024 * 1024;
const xzSync = (bytes: Buffer): Buffer => execFileSync("xz", ["--stdout", "-1"], { input: bytes, maxBuffer: 64 * MIB });
const sha256 = (bytes: Buffer): string => `sha256:${createHash("sha256").update(bytes).digest("hex")}`;
const noisy = Buffer.concat([raw(16), randomBytes(3 * MIB)]);

const packings = [
  { packing: "gzip", pack: gzipSync, packedNoise: gzipSync(noisy) },
  { packing: "zstd", pack: zstdCompressSync, packedNoise: zstdCompressSync(noisy) },
  { packing: "xz", pack: xzSync, packedNoise: xzSync(noisy) },
];

test.each(packings)(
  "$packing is unpacked, whatever the file is called; the image is what was in it",
  async ({ pack }) => {
    await using under = await openDiskStore({ run: agreeingQemuImg(64 * MIB) });
    under.server.serve("/disk.img", pack(qcow2()));
    const image = await under.store.pull(under.server.nameOf("/disk.img"), signal);
    expect(image).toMatchObject({ digest: sha256(qcow2()), format: "qcow2" });
    expect(await under.hasBytes(image.digest)).toBe(true);
    expect((await under.files()).filter((file) => file.startsWith("partial/"))).toEqual([]);
  },
);

test("zstd that begins with a frame to skip, as pzstd makes it, is unpacked", async () => {
  await using under = await openDiskStore({ run: agreeingQemuImg(noisy.length) });
  const aboutTheNext = Buffer.from("502a4d180400000000000000", "hex");
  const packed = [noisy.subarray(0, MIB), noisy.subarray(MIB)].flatMap((part) => [
    aboutTheNext,
    zstdCompressSync(part),
  ]);
  under.server.serve("/disk", Buffer.concat(packed));
  expect((await under.store.pull(under.server.nameOf("/disk"), signal)).digest).toBe(sha256(noisy));
});

test.each(packings)("a raw disk in $packing arrives byte for byte", async ({ packedNoise }) => {
  await using under = await openDiskStore({ run: agreeingQemuImg(noisy.length) });
  under.server.serve("/disk", packedNoise);
  expect((await under.store.pull(under.server.nameOf("/disk"), signal)).digest).toBe(sha256(noisy));
  expect(under.progress.at(-1)).toMatchObject({ isDone: true, receivedBytes: packedNoise.length });
});

test("a pin names the packed bytes, finds the image, and keeps it from being fetched again", async () => {
  await using under = await openDiskStore({ run: agreeingQemuImg(64 * MIB) });
  const packed = gzipSync(qcow2());
  under.server.serve("/disk.gz", packed);
  const name = `${under.server.nameOf("/disk.gz")}@${sha256(packed)}`;
  const image = await under.store.pull(name, signal);
  expect(image).toMatchObject({ digest: sha256(qcow2()), repoDigests: [name] });
  expect(await under.store.pull(name, signal)).toEqual(image);
  await under.reopen();
  expect(under.store.find(name)).toEqual(image);
  expect(await under.store.pull(name, signal)).toEqual(image);
  expect(under.server.requests).toEqual(["/disk.gz"]);
});

test.each(packings)("$packing bytes that are not the pinned ones are refused", async ({ pack }) => {
  await using under = await openDiskStore({ run: agreeingQemuImg(64 * MIB) });
  const before = await under.files();
  under.server.serve("/disk", pack(qcow2()));
  const name = `${under.server.nameOf("/disk")}@${sha256(qcow2())}`;
  await expect(under.store.pull(name, signal)).rejects.toMatchObject({ failure: { code: "IMAGE_DIGEST_MISMATCH" } });
  expect(await under.files()).toEqual(before);
});

test.each(packings)(
  "$packing that is broken or cut short is refused, and leaves nothing",
  async ({ packedNoise: whole, packing }) => {
    await using under = await openDiskStore({ run: agreeingQemuImg(noisy.length) });
    const before = await under.files();
    const broken = Buffer.from(whole);
    broken.fill(0xff, MIB, MIB + 100_000);
    under.server.serve("/broken", packing === "zstd" ? whole.subarray(0, 2 * MIB) : broken);
    under.server.serve("/short", whole.subarray(0, whole.length - 5));
    for (const path of ["/broken", "/short"]) {
      await expect(under.store.pull(under.server.nameOf(path), signal)).rejects.toMatchObject({
        failure: { code: "IMAGE_REFUSED" },
      });
    }
    expect(await under.files()).toEqual(before);
  },
);

test.each(packings)("$packing whose connection breaks is unavailable, not broken", async ({ packedNoise: packed }) => {
  await using under = await openDiskStore({ run: agreeingQemuImg(noisy.length) });
  under.server.on("/disk", (_request, response) => {
    response.writeHead(200, { "content-length": packed.length, etag: '"v1"' });
    response.write(packed.subarray(0, 2 * MIB), () => response.destroy());
  });
  const before = await under.files();
  await expect(under.store.pull(under.server.nameOf("/disk"), signal)).rejects.toMatchObject({
    failure: { code: "IMAGE_SOURCE_UNAVAILABLE" },
  });
  expect(await under.files()).toEqual(before);
});

test.each(packings)("a bomb in $packing is stopped at the virtual size that is allowed", async ({ pack }) => {
  await using under = await openDiskStore({
    run: agreeingQemuImg(64 * MIB),
    images: { maxVirtualSizeBytes: 4 * MIB },
  });
  const before = await under.files();
  const bomb = Buffer.alloc(16 * MIB);
  raw(16).copy(bomb);
  under.server.serve("/disk", pack(bomb));
  await expect(under.store.pull(under.server.nameOf("/disk"), signal)).rejects.toThrow(/unpacks to more than 4194304/);
  expect(await under.files()).toEqual(before);
});

test("what is packed twice is refused", async () => {
  await using under = await openDiskStore({ run: agreeingQemuImg(64 * MIB) });
  under.server.serve("/disk", gzipSync(xzSync(qcow2())));
  await expect(under.store.pull(under.server.nameOf("/disk"), signal)).rejects.toThrow(/xz data/);
});

test("whoever leaves while it is unpacked leaves no program and no file behind", async () => {
  await using under = await openDiskStore({ run: agreeingQemuImg(noisy.length) });
  const before = await under.files();
  const packed = packings[2]?.packedNoise ?? noisy;
  const leaving = new AbortController();
  under.server.on("/disk", (_request, response) => {
    response.writeHead(200, { "content-length": packed.length });
    response.write(packed.subarray(0, 2 * MIB), () => setImmediate(() => leaving.abort(new Error("left"))));
  });
  await expect(under.store.pull(under.server.nameOf("/disk"), leaving.signal)).rejects.toThrow("left");
  expect(await under.files()).toEqual(before);
});
