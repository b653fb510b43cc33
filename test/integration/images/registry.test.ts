// Disks from Debian's docker-registry, pushed there by skopeo, checked by the real qemu-img.

import { createHash } from "node:crypto";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { gzipSync, zstdCompressSync } from "node:zlib";
import { afterAll, beforeAll, expect, test } from "vitest";
import { qcow2, raw } from "../../fakes/disk-image.ts";
import { openDiskStore } from "../../fakes/disk-image-store.ts";
import { tar } from "../../fakes/tar-archive.ts";
import { DockerRegistry } from "./docker-registry.ts";
import { writeOciLayout } from "./oci-layout.ts";

const signal = AbortSignal.timeout(120_000);
const disk = qcow2({ content: "from a registry" });
const digestOf = (bytes: Uint8Array) => `sha256:${createHash("sha256").update(bytes).digest("hex")}`;
const login = { username: "puller", password: "s3cret:with colon" };
const TAR_GZIP = "application/vnd.oci.image.layer.v1.tar+gzip";
const containerDisk = [
  {
    mediaType: TAR_GZIP,
    bytes: gzipSync(
      tar([
        { path: "disk/", type: "5" },
        { path: "disk/old.img", bytes: raw() },
      ]),
    ),
  },
  {
    mediaType: TAR_GZIP,
    bytes: gzipSync(tar([{ path: "disk/.wh.old.img" }, { path: "disk/vm.qcow2", bytes: disk }])),
  },
];

let folder = "";
let guarded: DockerRegistry;
let open: DockerRegistry;

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), "vmlet-oci-"));
  guarded = await DockerRegistry.start({ isTls: true, login }, signal);
  open = await DockerRegistry.start({ isTls: false }, signal);
  for (const registry of [guarded, open]) await registry.writeHosts(join(folder, "certs.d"));
  const source = await writeOciLayout(join(folder, "container-disk"), containerDisk);
  await guarded.push(source, "vms/disk:1", [], signal);
  await open.push(source, "docker-format:1", ["--format=v2s2"], signal);
  await open.push(source, "plain:1", [], signal);
}, 120_000);

afterAll(async () => {
  await guarded[Symbol.asyncDispose]();
  await open[Symbol.asyncDispose]();
  await rm(folder, { recursive: true, force: true });
});

const openStore = async () =>
  openDiskStore({ images: { registry: { hostsFolderPath: join(folder, "certs.d"), authPath: join(folder, "auth") } } });

test("a containerDisk behind TLS and a password is pulled with the kubelet's credentials, and by its digest", async () => {
  await using under = await openStore();
  const name = guarded.nameOf("vms/disk");
  const image = await under.store.pull(`${name}:1`, signal, login);
  expect(image).toMatchObject({ digest: digestOf(disk), format: "qcow2", repoTags: [`${name}:1`] });
  const [pinned = ""] = image.repoDigests;
  expect(await under.store.pull(pinned, signal, login)).toMatchObject({ digest: image.digest });
  expect(under.store.find(pinned)?.digest).toBe(image.digest);
});

test("without credentials, or with wrong ones, it is refused as private", async () => {
  await using under = await openStore();
  for (const credentials of [undefined, { ...login, password: "wrong" }]) {
    await expect(under.store.pull(guarded.nameOf("vms/disk:1"), signal, credentials)).rejects.toMatchObject({
      failure: { code: "IMAGE_SOURCE_REFUSED", status: 401 },
    });
  }
});

test("a registry whose authority the node does not know is not trusted", async () => {
  await using under = await openDiskStore();
  await expect(under.store.pull(guarded.nameOf("vms/disk:1"), signal, login)).rejects.toMatchObject({
    failure: { code: "IMAGE_SOURCE_UNAVAILABLE" },
    message: expect.stringMatching(/certificate/),
  });
});

test.each(["plain", "docker-format"])(
  "%s manifests are taken over plain HTTP, without credentials",
  async (repository) => {
    await using under = await openStore();
    const image = await under.store.pull(open.nameOf(`${repository}:1`), signal);
    expect(image.digest).toBe(digestOf(disk));
  },
);

test("what is not in the registry is not found", async () => {
  await using under = await openStore();
  for (const name of ["none:1", "plain:none"]) {
    await expect(under.store.pull(open.nameOf(name), signal)).rejects.toMatchObject({
      failure: { code: "IMAGE_NOT_FOUND" },
    });
  }
});

test("KubeVirt's export is taken as it is pushed", async () => {
  await using under = await openStore();
  const layer = { mediaType: "application/vnd.kubevirt.disk.raw+zstd", bytes: zstdCompressSync(raw(4096, "kubevirt")) };
  const type = "application/vnd.kubevirt.virtualmachine.config.v1+json";
  const source = await writeOciLayout(join(folder, "export"), [layer], type);
  await open.push(source, "export:1", [], signal);
  const image = await under.store.pull(open.nameOf("export:1"), signal);
  expect(image).toMatchObject({ digest: digestOf(raw(4096, "kubevirt")), format: "raw", virtualSizeBytes: 2 ** 21 });
});
