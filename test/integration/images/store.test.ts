// The image store with the real qemu-img behind it.

import { stat, utimes } from "node:fs/promises";
import { join } from "node:path";
import { gzipSync, zstdCompressSync } from "node:zlib";
import { expect, test } from "vitest";
import { type Run, run } from "../../../src/lib/spawn.ts";
import { newMachineId } from "../../../src/model/ids.ts";
import { imageStoreContract } from "../../contract/image-store.contract.ts";
import { qcow2, raw } from "../../fakes/disk-image.ts";
import { mountSmallDisk } from "../../fakes/small-disk.ts";
import { output } from "../../node/command.ts";

const signal = AbortSignal.timeout(120_000);
const MIB = 1024 * 1024;

import { openDiskStore } from "../../fakes/disk-image-store.ts";

imageStoreContract(async () => {
  const fixture = await openDiskStore();
  return {
    get store() {
      return fixture.store;
    },
    publish: async (path, content) => {
      fixture.server.serve(`/${path}`, qcow2({ content }));
      return fixture.server.nameOf(`/${path}`);
    },
    publishHeldBack: async (path, content) => ({
      name: fixture.server.nameOf(`/${path}`),
      ...fixture.server.serveHeldBack(`/${path}`, qcow2({ content })),
    }),
    absentName: fixture.server.nameOf("/absent.qcow2"),
    hasBytes: async (digest) => fixture.hasBytes(digest),
    reopen: async () => fixture.reopen(),
    [Symbol.asyncDispose]: async () => fixture[Symbol.asyncDispose](),
  };
});

test("a daemon that starts when the file system is read-only has the images that there are", async () => {
  await using disk = await mountSmallDisk(32 * MIB);
  await using under = await openDiskStore({ rootPath: disk.path, qemuGid: 12_345 });
  under.server.serve("/image", qcow2());
  const image = await under.store.pull(under.server.nameOf("/image"), signal);
  await output(["/usr/bin/mount", "-o", "remount,ro", disk.path], signal);
  const again = await under.reopen();
  expect(again.list()).toEqual([image]);
});

test("a raw disk is taken as raw, with its length as the guest's disk", async () => {
  await using under = await openDiskStore();
  under.server.serve("/disk.img", raw(4096));
  const image = await under.store.pull(under.server.nameOf("/disk.img"), signal);
  expect(image).toMatchObject({ format: "raw", virtualSizeBytes: 2 * MIB });
});

test("qemu-img reads a downloaded file as nobody, who can read it and cannot write it", async () => {
  const ran: (readonly string[])[] = [];
  const noting: Run = async (file, args, options, inner) => {
    ran.push([file, ...args]);
    return run(file, args, options, inner);
  };
  await using under = await openDiskStore({ run: noting });
  under.server.serve("/image", qcow2());
  const { digest } = await under.store.pull(under.server.nameOf("/image"), signal);
  expect(ran.map((tool) => tool.slice(tool.indexOf("qemu-img")))).toEqual([
    ["qemu-img", "info", "--output=json", "-f", "qcow2", "/file"],
    ["qemu-img", "check", "--output=json", "-f", "qcow2", "/file"],
  ]);
  for (const tool of ran) expect(tool).toEqual(expect.arrayContaining(["bwrap", "prlimit", "setpriv"]));
  const { path } = await under.store.hold(digest, newMachineId(), signal);
  const as = ["--reuid=65534", "--regid=65534", "--clear-groups", "--"];
  expect((await run("setpriv", [...as, "head", "-c", "4", path], {}, signal)).stdout.toString("latin1")).toBe(
    "QFI\xfb",
  );
  expect((await run("setpriv", [...as, "sh", "-c", 'echo x >> "$1"', "sh", path], {}, signal)).exitCode).not.toBe(0);
  const { uid, gid, mode } = await stat(path);
  expect({ uid, gid, mode: mode & 0o7777 }).toEqual({ uid: 0, gid: 0, mode: 0o444 });
});

test("a qcow2 whose tables contradict each other is refused; one that only wastes clusters is taken", async () => {
  await using under = await openDiskStore();
  const [broken, wasteful] = [qcow2(), Buffer.concat([qcow2(), Buffer.alloc(65_536)])];
  broken.writeUInt16BE(0, 2 * 65_536 + 3 * 2); // nobody uses the L1 table, say the reference counts
  wasteful.writeUInt16BE(1, 2 * 65_536 + 4 * 2); // somebody uses the last cluster, say they
  under.server.serve("/broken", broken);
  under.server.serve("/wasteful", wasteful);
  await expect(under.store.pull(under.server.nameOf("/broken"), signal)).rejects.toMatchObject({
    failure: {
      code: "IMAGE_REFUSED",
      finding: expect.stringMatching(/^has \d+ errors in its tables for qemu-img check/),
    },
  });
  expect(await under.store.pull(under.server.nameOf("/wasteful"), signal)).toMatchObject({ format: "qcow2" });
});

test("a qcow2 with more errors than anyone wants to read is refused as soon as that is seen", async () => {
  await using under = await openDiskStore();
  const [cluster, l1Entries] = [65_536, 4096];
  const table = { virtualSizeBytes: 1n << 41n, l1Entries, l1Offset: BigInt(cluster * 5) };
  const endless = Buffer.concat([qcow2(table), Buffer.alloc(cluster * 2)]);
  // Each L1 entry means the one L2 table, and each of its entries the one cluster behind the file.
  for (let at = 0; at < l1Entries; at++)
    endless.writeBigUInt64BE((1n << 63n) | BigInt(cluster * 4), cluster * 5 + at * 8);
  for (let at = 0; at < 8192; at++) endless.writeBigUInt64BE((1n << 63n) | BigInt(cluster * 6), cluster * 4 + at * 8);
  under.server.serve("/endless", endless);
  const startedAtMs = performance.now();
  await expect(under.store.pull(under.server.nameOf("/endless"), signal)).rejects.toMatchObject({
    failure: { code: "IMAGE_REFUSED", finding: expect.stringContaining("countless errors in its tables") },
  });
  expect(performance.now() - startedAtMs).toBeLessThan(20_000); // it would go on until its CPU time is over
});

test("an announced download larger than the free space is refused before a byte of it is written", async () => {
  await using disk = await mountSmallDisk(2 * MIB);
  await using under = await openDiskStore({ rootPath: disk.path });
  const before = await under.files();
  under.server.serve("/image", raw(8 * 2048));
  await expect(under.store.pull(under.server.nameOf("/image"), signal)).rejects.toMatchObject({
    failure: { code: "DISK_FULL", path: disk.path, neededBytes: 8 * MIB, freeBytes: expect.any(Number) },
  });
  expect(await under.files()).toEqual(before);
  expect(under.progress).toEqual([]);
});

test("what is packed is refused before it is written, by what it is going to be", async () => {
  await using disk = await mountSmallDisk(32 * MIB);
  await using under = await openDiskStore({ rootPath: disk.path });
  const before = await under.files();
  const plain = raw(128 * 2048);
  under.server.serve("/told.zst", zstdCompressSync(plain, { pledgedSrcSize: plain.length }));
  plain.write("EFI PART", 512, "latin1");
  plain.writeBigUInt64LE(BigInt(128 * 2048 - 1), 512 + 32); // in the GPT: where the disk ends
  under.server.serve("/disk.gz", gzipSync(plain));
  for (const path of ["/told.zst", "/disk.gz"]) {
    await expect(under.store.pull(under.server.nameOf(path), signal), path).rejects.toMatchObject({
      failure: { code: "DISK_FULL", path: disk.path, neededBytes: 128 * MIB, freeBytes: expect.any(Number) },
      message: expect.stringMatching(/134217728 bytes are needed and \d+ are free/),
    });
  }
  expect(await under.files()).toEqual(before);
});

test("packed bytes that do not tell what they unpack to are stopped before the disk is full", async () => {
  await using disk = await mountSmallDisk(32 * MIB);
  await using under = await openDiskStore({ rootPath: disk.path });
  const before = await under.files();
  under.server.serve("/disk.gz", gzipSync(raw(128 * 2048).fill(1, 1024)));
  const failed = await under.store.pull(under.server.nameOf("/disk.gz"), signal).catch((error: unknown) => error);
  expect(failed).toMatchObject({ failure: { code: "DISK_FULL", freeBytes: expect.any(Number) } });
  expect((failed as { failure: { freeBytes: number } }).failure.freeBytes).toBeGreaterThan(8 * MIB);
  expect(await under.files()).toEqual(before);
  // Its disk would not fit either, but its file does.
  under.server.serve("/thin.qcow2.gz", gzipSync(qcow2({ virtualSizeBytes: 1024n ** 3n, l1Entries: 2 })));
  expect(await under.store.pull(under.server.nameOf("/thin.qcow2.gz"), signal)).toMatchObject({ format: "qcow2" });
});

test("a disk that fills up during a download of unknown length fails as full, and is empty again", async () => {
  await using disk = await mountSmallDisk(2 * MIB);
  await using under = await openDiskStore({ rootPath: disk.path });
  const before = await under.files();
  const usage = await under.store.usage();
  under.server.on("/image", (_request, response) => {
    response.writeHead(200);
    response.end(raw(8 * 2048).fill(1, 512)); // zeros would take no room
  });
  await expect(under.store.pull(under.server.nameOf("/image"), signal)).rejects.toMatchObject({
    failure: { code: "DISK_FULL", path: expect.stringContaining(disk.path) },
    message: expect.stringMatching(/bytes are needed and \d+ are free; remove images/),
  });
  expect(await under.files()).toEqual(before);
  expect(await under.store.usage()).toEqual(usage);
});

test("where room is scarce, what a cut download left makes way after ten minutes, when usage is asked for", async () => {
  await using disk = await mountSmallDisk(5 * MIB);
  await using under = await openDiskStore({ rootPath: disk.path });
  const before = await under.files();
  under.server.on("/image", (_request, response) => {
    response.writeHead(200, { "content-length": 4.5 * MIB, etag: '"v1"' });
    response.write(
      raw(9 * 1024)
        .fill(1, 512)
        .subarray(0, 4.25 * MIB),
      () => response.destroy(),
    );
  });
  await expect(under.store.pull(under.server.nameOf("/image"), signal)).rejects.toMatchObject({
    failure: { code: "IMAGE_SOURCE_UNAVAILABLE" },
  });
  expect((await under.store.usage()).usedBytes).toBeGreaterThan(4 * MIB); // whoever retries at once goes on
  const record = (await under.files()).find((file) => file.endsWith(".json"));
  const elevenMinutesAgo = Date.now() / 1000 - 660;
  await utimes(join(disk.path, record ?? "none"), elevenMinutesAgo, elevenMinutesAgo);
  expect((await under.store.usage()).usedBytes).toBe(0);
  expect(await under.files()).toEqual(before);
});

test("a hold that cannot be saved on a full disk fails as such, and holds nothing", async () => {
  await using disk = await mountSmallDisk(2 * MIB);
  await using under = await openDiskStore({ rootPath: disk.path });
  under.server.serve("/image", qcow2());
  const name = under.server.nameOf("/image");
  const { digest } = await under.store.pull(name, signal);
  const filler = await run("dd", ["if=/dev/zero", `of=${disk.path}/filler`, "bs=4096"], {}, signal);
  expect(filler.stderr).toContain("No space left");
  await expect(under.store.hold(digest, newMachineId(), signal)).rejects.toMatchObject({
    failure: { code: "DISK_FULL", path: disk.path },
  });
  expect((await under.files()).filter((file) => file.startsWith("holds/"))).toEqual([]);
  await under.store.remove(name, signal);
  expect(await under.hasBytes(digest)).toBe(false);
});
