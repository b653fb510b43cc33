// 20 pulls of 5 images at once: the server sends each blob once, and each disk is kept once.

import { createHash } from "node:crypto";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { gzipSync } from "node:zlib";
import { expect, test } from "vitest";
import type { ImageStore } from "../../../src/ports/image-store.ts";
import { qcow2 } from "../../fakes/disk-image.ts";
import { openDiskStore } from "../../fakes/disk-image-store.ts";
import { tar } from "../../fakes/tar-archive.ts";
import { DockerRegistry } from "./docker-registry.ts";
import { Nginx } from "./nginx.ts";
import { writeOciLayout } from "./oci-layout.ts";

const signal = AbortSignal.timeout(120_000);
const disks = ["a", "b", "c", "d", "e"].map((name) => ({ name, bytes: qcow2({ content: `disk ${name}` }) }));
const digestOf = (bytes: Uint8Array) => `sha256:${createHash("sha256").update(bytes).digest("hex")}`;
const digests = disks.map(({ bytes }) => digestOf(bytes));

/** Each image by two names, twice each. */
async function pullAll(store: ImageStore, nameOf: (disk: string) => string): Promise<void> {
  const names = disks.flatMap(({ name }) => ["", ":other", "", ":other"].map((tag) => ({ name, tag })));
  expect(names).toHaveLength(20);
  const pulled = await Promise.all(names.map(async ({ name, tag }) => store.pull(`${nameOf(name)}${tag}`, signal)));
  expect(pulled.map(({ digest }) => digest)).toEqual(digests.flatMap((digest) => Array(4).fill(digest)));
  expect(store.list().map(({ digest }) => digest)).toEqual(expect.arrayContaining(digests));
  expect(store.list()).toHaveLength(disks.length);
}

test("from nginx", async () => {
  await using nginx = await Nginx.start("http", signal);
  for (const { name, bytes } of disks) await writeFile(join(nginx.filesPath, `${name}.qcow2`), bytes);
  await using under = await openDiskStore();
  await pullAll(under.store, (name) => nginx.nameOf("plain", `${name}.qcow2`));
  const sent = (await nginx.requests()).filter(({ sentBytes }) => sentBytes > 0);
  expect(sent.map(({ path, sentBytes }) => `${path} ${sentBytes}`).toSorted()).toEqual(
    disks.map(({ name, bytes }) => `/plain/${name}.qcow2 ${bytes.length}`),
  );
  expect((await under.files()).filter((file) => file.startsWith("blobs/"))).toHaveLength(disks.length);
});

test("from a registry", async () => {
  await using undo = new AsyncDisposableStack();
  const folder = await mkdtemp(join(tmpdir(), "vmlet-concurrent-"));
  undo.defer(async () => rm(folder, { recursive: true, force: true }));
  await using registry = await DockerRegistry.start({ isTls: false }, signal);
  await registry.writeHosts(join(folder, "certs.d"));
  const layers = disks.map(({ bytes }) => gzipSync(tar([{ path: "disk/vm.qcow2", bytes }])));
  for (const [index, { name }] of disks.entries()) {
    const layer = { mediaType: "application/vnd.oci.image.layer.v1.tar+gzip", bytes: layers[index] ?? Buffer.alloc(0) };
    const source = await writeOciLayout(join(folder, name), [layer]);
    for (const tag of ["latest", "other"]) await registry.push(source, `${name}:${tag}`, [], signal);
  }
  const settings = { hostsFolderPath: join(folder, "certs.d"), authPath: join(folder, "none") };
  await using under = await openDiskStore({ images: { registry: settings } });
  await pullAll(under.store, (name) => registry.nameOf(name));
  const read = async () =>
    (await registry.blobsRead()).filter((digest) => layers.some((layer) => digestOf(layer) === digest)).toSorted();
  await expect.poll(read).toEqual(layers.map(digestOf).toSorted()); // its log may come behind its last byte
  expect((await under.files()).filter((file) => file.startsWith("blobs/"))).toHaveLength(disks.length);
});
