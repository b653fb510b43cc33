// A download that is cut goes on where it was cut, and only if nothing speaks against it.

import { createHash } from "node:crypto";
import { open, readdir, readFile, stat, utimes, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { expect, test } from "vitest";
import type { Run } from "../../../src/lib/spawn.ts";
import { agreeingQemuImg, type DiskStoreFixture, openDiskStore } from "../../fakes/disk-image-store.ts";
import { RangeServer } from "../../fakes/range-server.ts";

const signal = AbortSignal.timeout(120_000);
const MIB = 1024 * 1024;
const LENGTH = 24 * MIB;
const bytes = noise(LENGTH, 1);

const changed = noise(LENGTH, 2);

/** A bootable raw disk of bytes that differ everywhere. */
function noise(length: number, seed: number): Buffer {
  const file = Buffer.alloc(length);
  for (let at = 0; at < length; at += 32) file.set(createHash("sha256").update(`${seed}/${at}`).digest(), at);
  file.set([0x55, 0xaa], 510);
  return file;
}

const hexOf = (content: Buffer): string => createHash("sha256").update(content).digest("hex");
const openStore = async () => openDiskStore({ run: agreeingQemuImg(LENGTH) });

async function cut(under: DiskStoreFixture, file: RangeServer, atBytes: number, name: string): Promise<void> {
  file.cutAtBytes = atBytes;
  await expect(under.store.pull(name, signal)).rejects.toMatchObject({ failure: { code: "IMAGE_SOURCE_UNAVAILABLE" } });
  file.cutAtBytes = undefined;
  file.sentBytes = 0;
  file.asked.length = 0;
}

test("a cut download goes on where it was cut, also after a restart, and the image is right", async () => {
  await using under = await openStore();
  const file = RangeServer.on(under.server, "/disk", { bytes, headers: { etag: '"v1"' } });
  const name = under.server.nameOf("/disk");
  await cut(under, file, 15 * MIB, name);
  await under.reopen();
  const image = await under.store.pull(name, signal);
  expect(image.digest).toBe(`sha256:${hexOf(bytes)}`);
  expect(file.sentBytes).toBeLessThanOrEqual(10 * MIB);
  expect((await under.files()).filter((path) => path.startsWith("partial/"))).toEqual([]);
});

test.each([
  ["another etag", { etag: '"v2"' }],
  ["no validator any more", {}],
])("a file that has %s by then is fetched from its beginning", async (_, headers) => {
  await using under = await openStore();
  const name = under.server.nameOf("/disk");
  const file = RangeServer.on(under.server, "/disk", { bytes, headers: { etag: '"v1"' } });
  await cut(under, file, 15 * MIB, name);
  RangeServer.on(under.server, "/disk", { bytes: changed, headers });
  expect((await under.store.pull(name, signal)).digest).toBe(`sha256:${hexOf(changed)}`);
});

test("a server that ignores If-Range is found out by the etag of what it sends", async () => {
  await using under = await openStore();
  const name = under.server.nameOf("/disk");
  const file = RangeServer.on(under.server, "/disk", { bytes, headers: { etag: '"v1"' } });
  await cut(under, file, 15 * MIB, name);
  RangeServer.on(under.server, "/disk", { bytes: changed, headers: { etag: '"v2"' }, ignoresIfRange: true });
  expect((await under.store.pull(name, signal)).digest).toBe(`sha256:${hexOf(changed)}`);
});

test("a pin is validator enough, and what turns out wrong under it is fetched again from the beginning, once", async () => {
  await using under = await openStore();
  const name = `${under.server.nameOf("/disk")}@sha256:${hexOf(changed)}`;
  const file = RangeServer.on(under.server, "/disk", { bytes, headers: {} });
  await cut(under, file, 15 * MIB, name);
  const second = RangeServer.on(under.server, "/disk", { bytes: changed, headers: {} });
  expect((await under.store.pull(name, signal)).digest).toBe(`sha256:${hexOf(changed)}`);
  expect(second.asked.map((range) => range === undefined)).toEqual([false, true]);
  expect(under.log.lines).toContainEqual(expect.objectContaining({ level: "warn" }));
});

test("what a pull under a pin left is nothing to go on with for one without, where there are no validators", async () => {
  await using under = await openStore();
  const name = under.server.nameOf("/disk");
  const file = RangeServer.on(under.server, "/disk", { bytes, headers: {} });
  await cut(under, file, 15 * MIB, `${name}@sha256:${hexOf(bytes)}`);
  RangeServer.on(under.server, "/disk", { bytes: changed, headers: {} });
  expect((await under.store.pull(name, signal)).digest).toBe(`sha256:${hexOf(changed)}`);
});

test("a whole file that qemu-img could not look at is not fetched again", async () => {
  let isInstalled = false;
  const run: Run = async (...args) => {
    if (!isInstalled) throw Object.assign(new Error("spawn bwrap ENOENT"), { code: "ENOENT" });
    return agreeingQemuImg(LENGTH)(...args);
  };
  await using under = await openDiskStore({ run });
  const name = under.server.nameOf("/disk");
  const file = RangeServer.on(under.server, "/disk", { bytes, headers: { etag: '"v1"' } });
  await expect(under.store.pull(name, signal)).rejects.toMatchObject({ failure: { code: "TOOL_FAILED" } });
  file.sentBytes = 0;
  isInstalled = true;
  expect((await under.store.pull(name, signal)).digest).toBe(`sha256:${hexOf(bytes)}`);
  expect(file.sentBytes).toBeLessThanOrEqual(8 * MIB);
});

test("without validators and without a pin nothing is left of a cut download", async () => {
  await using under = await openStore();
  const before = await under.files();
  const file = RangeServer.on(under.server, "/disk", { bytes, headers: {} });
  await cut(under, file, 15 * MIB, under.server.nameOf("/disk"));
  expect(await under.files()).toEqual(before);
});

test.each([
  ["at its beginning", 5, LENGTH],
  ["behind a checkpoint", 13 * MIB, 12 * MIB],
])("bytes damaged on disk %s are found out without a pin, and fetched again", async (_, at, atMost) => {
  await using under = await openStore();
  const name = under.server.nameOf("/disk");
  const file = RangeServer.on(under.server, "/disk", { bytes, headers: { etag: '"v1"' } });
  await cut(under, file, 20 * MIB, name);
  await using part = await open(await partialPath(under, ".part"), "r+");
  await part.write("damage", at);
  expect((await under.store.pull(name, signal)).digest).toBe(`sha256:${hexOf(bytes)}`);
  expect(file.sentBytes).toBeLessThanOrEqual(atMost + 4 * MIB);
});

test.each([
  ["not JSON", "{"],
  ["of a later version", JSON.stringify({ v: 2 })],
  ["larger than any record", " ".repeat(100_000)],
])("a record that is %s means that the download begins anew", async (_, text) => {
  await using under = await openStore();
  const name = under.server.nameOf("/disk");
  const file = RangeServer.on(under.server, "/disk", { bytes, headers: { etag: '"v1"' } });
  await cut(under, file, 20 * MIB, name);
  await writeFile(await partialPath(under, ".json"), text);
  expect((await under.store.pull(name, signal)).digest).toBe(`sha256:${hexOf(bytes)}`);
  expect(file.asked).toEqual([undefined]);
});

test("what is left of a cut download is collected when nobody came back for a week", async () => {
  await using under = await openStore();
  const before = await under.files();
  const file = RangeServer.on(under.server, "/disk", { bytes, headers: { etag: '"v1"' } });
  await cut(under, file, 20 * MIB, under.server.nameOf("/disk"));
  await under.reopen();
  expect(await under.files()).not.toEqual(before);
  const weekAgo = Date.now() / 1000 - 8 * 24 * 3600;
  await utimes(await partialPath(under, ".json"), weekAgo, weekAgo);
  await under.reopen();
  expect(await under.files()).toEqual(before);
});

test("a download under way is never collected, however old it looks and however much another one needs", async () => {
  await using under = await openDiskStore({ run: agreeingQemuImg(LENGTH), images: { maxImageBytes: 2 ** 50 } });
  const { promise: others, resolve: othersAreDone } = Promise.withResolvers<void>();
  under.server.on("/live", (_request, response) => {
    response.writeHead(200, { "content-length": LENGTH, etag: '"v1"' });
    response.write(bytes.subarray(0, 10 * MIB));
    void others.then(() => response.end(bytes.subarray(10 * MIB)));
  });
  const live = under.store.pull(under.server.nameOf("/live"), signal);
  await expect.poll(async () => partialPath(under, ".json").catch(() => undefined)).toBeDefined();
  const paths = [await partialPath(under, ".json"), await partialPath(under, ".part")];
  const longAgo = Date.now() / 1000 - 30 * 24 * 3600;
  for (const path of paths) await utimes(path, longAgo, longAgo);

  under.server.on("/vast", (_request, response) => {
    response.writeHead(200, { "content-length": String(2 ** 49) });
    response.write(bytes.subarray(0, MIB));
  });
  const vast = under.store.pull(under.server.nameOf("/vast"), signal); // collects what is old, then all that is dead
  await expect(vast).rejects.toMatchObject({ failure: { code: "DISK_FULL" } });
  for (const path of paths) expect((await stat(path)).isFile()).toBe(true);
  othersAreDone();
  expect((await live).digest).toBe(`sha256:${hexOf(bytes)}`);
});

test("the same file asked for under two names at once is downloaded once", async () => {
  await using under = await openStore();
  const file = RangeServer.on(under.server, "/disk", { bytes, headers: { etag: '"v1"' } });
  const names = [under.server.nameOf("/disk"), `${under.server.nameOf("/disk")}:other`];
  const images = await Promise.all(names.map(async (name) => under.store.pull(name, signal)));
  expect(new Set(images.map(({ digest }) => digest)).size).toBe(1);
  expect(file.sentBytes).toBe(LENGTH);
  expect(under.store.list()[0]?.repoTags).toHaveLength(2);
});

test("zeros of a raw disk take no room", async () => {
  await using under = await openStore();
  const sparse = Buffer.alloc(LENGTH);
  noise(MIB, 3).copy(sparse);
  under.server.serve("/disk", sparse);
  const image = await under.store.pull(under.server.nameOf("/disk"), signal);
  const path = join(under.rootPath, "blobs/sha256", image.digest.slice(7));
  expect((await readFile(path)).equals(sparse)).toBe(true);
  expect((await stat(path)).blocks * 512).toBeLessThanOrEqual(2 * MIB);
  expect(image.sizeBytes).toBeLessThanOrEqual(2 * MIB);
});

async function partialPath(under: DiskStoreFixture, end: string): Promise<string> {
  const folder = join(under.rootPath, "partial");
  const found = (await readdir(folder)).find((file) => file.endsWith(end));
  if (found === undefined) throw new Error(`no ${end} in ${folder}`);
  return join(folder, found);
}
