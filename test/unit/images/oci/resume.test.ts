// Pulls from a registry that were cut, and what is fetched when they are asked for again.

import { createHash } from "node:crypto";
import { open, readdir } from "node:fs/promises";
import { join } from "node:path";
import { gzipSync } from "node:zlib";
import { expect, test } from "vitest";
import { agreeingQemuImg } from "../../../fakes/disk-image-store.ts";
import { type Hook, OCI_LAYER } from "../../../fakes/oci-registry.ts";
import { type OciStoreFixture, openOciStore } from "../../../fakes/oci-store.ts";
import { RangeServer } from "../../../fakes/range-server.ts";
import { tar } from "../../../fakes/tar-archive.ts";

const signal = AbortSignal.timeout(60_000);
const MIB = 1024 * 1024;
const LENGTH = 24 * MIB;
const disk = noise(LENGTH);
const archive = tar([
  { path: "etc/before", bytes: Buffer.alloc(3000, 1) },
  { path: "disk/", type: "5" },
  { path: "disk/vm.img", bytes: disk },
  { path: "etc/behind", bytes: Buffer.alloc(3000, 2) },
]);
const digestOf = (bytes: Uint8Array) => `sha256:${createHash("sha256").update(bytes).digest("hex")}`;

/** A raw disk with a boot mark that nothing packs. */
function noise(length: number): Buffer {
  const bytes = Buffer.alloc(length);
  for (let at = 0, block = createHash("sha256").update("seed").digest(); at < length; at += 32) {
    block = at % 4096 === 0 ? createHash("sha256").update(block).digest() : block;
    block.copy(bytes, at);
  }
  bytes.set([0x55, 0xaa], 510);
  return bytes;
}

const kinds = [
  { what: "a disk that is a layer itself", mediaType: "application/vnd.lfedge.disk.layer.v1+raw", bytes: disk },
  { what: "a disk in an archive that is not packed", mediaType: OCI_LAYER, bytes: archive },
];

interface Served extends OciStoreFixture {
  readonly name: string;
  readonly blob: RangeServer;
}

async function serve(
  mediaType: string,
  bytes: Buffer,
  how: { readonly bytesPerSecond?: number } = {},
): Promise<Served> {
  const fixture = await openOciStore({}, agreeingQemuImg(LENGTH));
  const { registry } = fixture;
  registry.push("vm", [{ mediaType, bytes }]);
  const blob = new RangeServer({ bytes, headers: {}, ...how });
  registry.hook = answeringBy(blob, bytes);
  return { ...fixture, name: registry.nameOf("vm"), blob };
}

/** Answers for the blob. One that was cut is not gone on with, while it is to be cut. */
const answeringBy =
  (blob: RangeServer, bytes: Buffer): Hook =>
  (request, response, url) => {
    if (url.pathname !== `/v2/vm/blobs/${digestOf(bytes)}`) return false;
    if (blob.cutAtBytes !== undefined && request.headers.range !== undefined) response.writeHead(403).end();
    else blob.answer(request, response);
    return true;
  };

async function cut({ under, blob, name }: Served, atBytes: number): Promise<void> {
  blob.cutAtBytes = atBytes;
  await expect(under.store.pull(name, signal)).rejects.toMatchObject({ failure: { code: "IMAGE_SOURCE_REFUSED" } });
  blob.cutAtBytes = undefined;
  blob.sentBytes = 0;
  blob.asked.length = 0;
}

const partials = async ({ under }: Served): Promise<string[]> => readdir(join(under.rootPath, "partial"));

test.each(kinds)("$what goes on where it was cut, also after a restart, and is right", async ({ mediaType, bytes }) => {
  await using served = await serve(mediaType, bytes);
  await cut(served, 15 * MIB);
  const store = await served.under.reopen();
  const { digest } = await store.pull(served.name, signal);
  expect(digest).toBe(digestOf(disk));
  expect(served.blob.sentBytes).toBeLessThanOrEqual(16 * MIB); // what is on its way when a connection is closed counts
  expect(await partials(served)).toEqual([]);
});

test.each(kinds)("$what that was damaged on disk is found out, and what follows fetched again", async (kind) => {
  await using served = await serve(kind.mediaType, kind.bytes);
  await cut(served, 20 * MIB);
  const part = (await partials(served)).find((file) => file.endsWith(".part")) ?? "";
  await using file = await open(join(served.under.rootPath, "partial", part), "r+");
  await file.write("damage", 13 * MIB);
  expect((await served.under.store.pull(served.name, signal)).digest).toBe(digestOf(disk));
  expect(served.blob.sentBytes).toBeLessThanOrEqual(20 * MIB);
});

test.each(kinds)("$what whose beginning turns out to be another is fetched again from there, once", async (kind) => {
  await using served = await serve(kind.mediaType, kind.bytes);
  const other = Buffer.from(kind.bytes);
  other.fill(7, 5 * MIB, 6 * MIB);
  const liar = new RangeServer({ bytes: other, headers: {} });
  const { hook } = served.registry;
  served.registry.hook = answeringBy(liar, kind.bytes);
  await cut({ ...served, blob: liar }, 15 * MIB);
  served.registry.hook = hook;
  expect((await served.under.store.pull(served.name, signal)).digest).toBe(digestOf(disk));
  expect(served.blob.sentBytes).toBeGreaterThan(LENGTH);
});

test("a packed layer begins anew after a pull that ended, but not after a connection that broke", async () => {
  const packed = gzipSync(archive, { level: 0 });
  await using served = await serve(`${OCI_LAYER}+gzip`, packed);
  await cut(served, 15 * MIB);
  expect(await partials(served)).toEqual([]);
  const { blob, registry } = served;
  blob.cutAtBytes = 10 * MIB;
  const { hook } = registry;
  registry.hook = (request, response, url) => {
    if (request.headers.range !== undefined) blob.cutAtBytes = undefined;
    return hook(request, response, url);
  };
  expect((await served.under.store.pull(served.name, signal)).digest).toBe(digestOf(disk));
  const starts = blob.asked.slice(1).map((range) => Number(/^bytes=(\d+)-/.exec(range ?? "")?.[1]));
  expect(starts.length).toBeGreaterThan(0); // more than one where the machine is slow: then it tries several connections
  expect(Math.min(...starts)).toBeGreaterThan(5 * MIB);
});

test.each(kinds)("$what comes over several connections when one is slow", async ({ mediaType, bytes }) => {
  await using served = await serve(mediaType, bytes, { bytesPerSecond: 6 * MIB });
  expect((await served.under.store.pull(served.name, signal)).digest).toBe(digestOf(disk));
  expect(served.blob.asked.length).toBeGreaterThan(2);
});
