// Disks from Debian's nginx: with ranges and without, slow, killed, and with files that change under it.

import { createHash } from "node:crypto";
import { rename, truncate, utimes, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { gzipSync } from "node:zlib";
import { afterAll, beforeAll, expect, test } from "vitest";
import { qcow2, raw } from "../../fakes/disk-image.ts";
import { type DiskStoreFixture, openDiskStore } from "../../fakes/disk-image-store.ts";
import { poll } from "../../node/poll.ts";
import { type Manner, Nginx, type NginxRequest } from "./nginx.ts";

const signal = AbortSignal.timeout(240_000);
const MIB = 1024 * 1024;
const LARGE_BYTES = 28 * MIB;
const MEDIUM_BYTES = 12 * MIB;
/** What is sent for nothing when a connection is broken off: it was on its way. */
const ON_ITS_WAY_BYTES = 6 * MIB;
/** Of a cut download the bytes behind its last checkpoint but one may be fetched again. */
const CHECKPOINT_BYTES = 4 * MIB;
/** So much that a machine that is busy for a second still finds the download in its middle. */
const HUGE_BYTES = 4 * LARGE_BYTES;
const large = noisy(LARGE_BYTES);
const huge = Buffer.concat([large, large, large, large]);
const medium = large.subarray(0, MEDIUM_BYTES);
const small = qcow2();

function noisy(lengthBytes: number): Buffer {
  const file = raw(lengthBytes / 512);
  for (let at = 512; at < lengthBytes; at += 32) createHash("sha256").update(`${at}`).digest().copy(file, at);
  return file;
}

const digestOf = (bytes: Uint8Array): string => `sha256:${createHash("sha256").update(bytes).digest("hex")}`;

let nginx: Nginx;

beforeAll(async () => {
  nginx = await Nginx.start("http", signal);
  await put("small.qcow2", small);
  await put("medium.raw", medium);
  await put("large.raw", large);
  await put("huge.raw", huge);
  await put("packed.qcow2.gz", gzipSync(small));
});
afterAll(async () => nginx[Symbol.asyncDispose]());

/** In one step, as an admin would. Old enough for its date to tell versions apart, and a second newer than the last. */
async function put(name: string, bytes: Uint8Array): Promise<void> {
  const path = join(nginx.filesPath, name);
  await writeFile(`${path}.new`, bytes);
  put.atSeconds++;
  await utimes(`${path}.new`, put.atSeconds, put.atSeconds);
  await rename(`${path}.new`, path);
}
put.atSeconds = Math.floor(Date.now() / 1000) - 86_400;

/** Those since the last call. */
async function requests(): Promise<readonly NginxRequest[]> {
  const all = await nginx.requests();
  const since = all.slice(requests.seen);
  requests.seen = all.length;
  return since;
}
requests.seen = 0;

const statuses = async (): Promise<readonly number[]> => (await requests()).map(({ status }) => status);

test.each<Manner>(["plain", "whole", "dated"])(
  "a file is fetched once, and not again while it is the same: %s",
  async (manner) => {
    await using under = await openDiskStore();
    const name = nginx.nameOf(manner, "small.qcow2");
    await statuses();
    const image = await under.store.pull(name, signal);
    expect(image.digest).toBe(digestOf(small));
    expect(await under.store.pull(name, signal)).toEqual(image);
    await put("small.qcow2", qcow2({ content: manner }));
    const changed = await under.store.pull(name, signal);
    await put("small.qcow2", small);
    expect(await statuses()).toEqual([200, 304, 200]);
    expect(changed.digest).toBe(digestOf(qcow2({ content: manner })));
  },
);

test("over TLS, from an authority that the profile names", async () => {
  await using secure = await Nginx.start("https", signal);
  await writeFile(join(secure.filesPath, "small.qcow2"), small);
  const name = secure.nameOf("plain", "small.qcow2");
  await using stranger = await openDiskStore();
  await expect(stranger.store.pull(name, signal)).rejects.toThrow("does not trust");
  await using under = await openDiskStore({ images: { profiles: { default: { caPath: secure.caPath } } } });
  expect((await under.store.pull(name, signal)).digest).toBe(digestOf(small));
});

test("a redirect is followed; what is not there or private is told as such", async () => {
  await using under = await openDiskStore();
  const pull = async (manner: Manner, file: string) => under.store.pull(nginx.nameOf(manner, file), signal);
  expect((await pull("moved", "small.qcow2")).digest).toBe(digestOf(small));
  await expect(pull("plain", "none.qcow2")).rejects.toMatchObject({ failure: { code: "IMAGE_NOT_FOUND" } });
  await expect(pull("private", "small.qcow2")).rejects.toMatchObject({ failure: { status: 401 } });
});

test("a server that would compress does not, for it is asked not to; one that does all the same is refused", async () => {
  await using under = await openDiskStore();
  expect((await under.store.pull(nginx.nameOf("zipping", "small.qcow2"), signal)).digest).toBe(digestOf(small));
  const zipped = under.store.pull(nginx.nameOf("zipped", "packed.qcow2"), signal);
  await expect(zipped).rejects.toThrow("compressed although it was told not to");
  const packed = await under.store.pull(nginx.nameOf("plain", "packed.qcow2.gz"), signal);
  expect(packed.digest).toBe(digestOf(small));
});

test("where each connection is slow, ranges come over several, each byte about once", async () => {
  await using under = await openDiskStore();
  await requests();
  const image = await under.store.pull(nginx.nameOf("slow", "large.raw"), signal);
  expect(image.digest).toBe(digestOf(large));
  const all = await requests();
  expect(all.filter(({ status }) => status === 206).length).toBeGreaterThan(2);
  expect(all.filter(({ status }) => status === 200)).toHaveLength(1); // broken off when ranges took over
  expect(sentBytes(all)).toBeLessThanOrEqual(LARGE_BYTES + ON_ITS_WAY_BYTES);
});

test("without ranges one slow connection is one slow connection", async () => {
  await using under = await openDiskStore();
  await requests();
  const image = await under.store.pull(nginx.nameOf("slow-whole", "medium.raw"), signal);
  expect(image.digest).toBe(digestOf(medium));
  expect(await requests()).toMatchObject([{ status: 200, sentBytes: MEDIUM_BYTES, range: "-" }]);
});

test("killed in the middle and started again: gone on with where it was", async () => {
  await using under = await openDiskStore();
  const name = nginx.nameOf("slow", "huge.raw");
  await killedAfter(under, name, 12 * MIB);
  expect((await under.store.pull(name, signal)).digest).toBe(digestOf(huge));
  const again = await requests();
  expect(again[0]?.range).toMatch(/^bytes=\d+-/);
  expect(sentBytes(again)).toBeLessThanOrEqual(HUGE_BYTES - 12 * MIB + 2 * CHECKPOINT_BYTES + ON_ITS_WAY_BYTES);
});

test("killed in the middle without ranges: the next pull asks once, and gets all of it again", async () => {
  await using under = await openDiskStore();
  const name = nginx.nameOf("slow-whole", "large.raw");
  await killedAfter(under, name, 6 * MIB);
  expect((await under.store.pull(name, signal)).digest).toBe(digestOf(large));
  expect(await requests()).toMatchObject([{ status: 200, sentBytes: LARGE_BYTES }]);
});

test("a file that is replaced while ranges of it are read is found out; the next pull has the new one", async () => {
  await using under = await openDiskStore();
  await put("replaced.raw", huge);
  const name = nginx.nameOf("slow", "replaced.raw");
  await requests();
  const pulling = under.store.pull(name, signal);
  const outcome = expect(pulling).rejects.toThrow("has another file by now");
  const seen = requests.seen;
  const range = async () => (await nginx.requests()).slice(seen).find(({ status }) => status === 206);
  await poll(range, { what: "a range", limitMs: 30_000, everyMs: 10 }, signal);
  await put("replaced.raw", small);
  await outcome;
  expect((await under.store.pull(name, signal)).digest).toBe(digestOf(small));
});

test("a file that is cut while it is sent is a download that was cut, and no image", async () => {
  await using under = await openDiskStore();
  await put("shrinking.raw", large);
  const pulling = under.store.pull(nginx.nameOf("slow-whole", "shrinking.raw"), signal);
  const outcome = expect(pulling).rejects.toMatchObject({ failure: { code: "IMAGE_SOURCE_UNAVAILABLE" } });
  await partialHas(under, 3 * MIB);
  await truncate(join(nginx.filesPath, "shrinking.raw"), 2 * MIB);
  await outcome;
  expect(under.store.list()).toEqual([]);
});

const sentBytes = (all: readonly NginxRequest[]): number => all.reduce((sum, request) => sum + request.sentBytes, 0);

/** A pull whose server dies when so much is here; the server is back at the end. */
async function killedAfter(under: DiskStoreFixture, name: string, bytes: number): Promise<void> {
  const pulling = under.store.pull(name, signal);
  const outcome = expect(pulling).rejects.toMatchObject({ failure: { code: "IMAGE_SOURCE_UNAVAILABLE" } });
  try {
    await partialHas(under, bytes);
    await nginx.kill();
    await outcome;
  } finally {
    await nginx.kill();
    await nginx.restart(signal); // also for the tests behind one that failed
  }
  await requests();
}

/** Waits until so much of a download is on disk. */
async function partialHas(under: DiskStoreFixture, bytes: number): Promise<void> {
  await poll(
    async () => ((await under.store.usage()).usedBytes >= bytes ? true : undefined),
    { what: `${bytes} bytes on disk`, limitMs: 30_000, everyMs: 20 },
    signal,
  );
}
