// What is taken from a registry, what is refused, and what is made of a registry that lies.

import { createHash } from "node:crypto";
import { gzipSync, zstdCompressSync } from "node:zlib";
import { describe, expect, test } from "vitest";
import { qcow2, raw } from "../../../fakes/disk-image.ts";
import { OCI_INDEX, OCI_LAYER, OCI_MANIFEST, send } from "../../../fakes/oci-registry.ts";
import { openOciStore } from "../../../fakes/oci-store.ts";
import { tar } from "../../../fakes/tar-archive.ts";

const signal = AbortSignal.timeout(60_000);
const MIB = 1024 * 1024;
const disk = qcow2({ content: "a disk in a registry", virtualSizeBytes: BigInt(MIB) });
const digestOf = (bytes: Uint8Array) => `sha256:${createHash("sha256").update(bytes).digest("hex")}`;
const containerDisk = (bytes = disk) => [{ mediaType: OCI_LAYER, bytes: tar([{ path: "disk/d.qcow2", bytes }]) }];
const arch = process.arch === "x64" ? "amd64" : process.arch;

describe("taken", () => {
  test("a containerDisk, whose id is the disk's digest and whose pin is the manifest's", async () => {
    await using fixture = await openOciStore();
    const { registry, under } = fixture;
    const manifest = registry.push("vms/fedora", containerDisk());
    const name = registry.nameOf("vms/fedora");
    const image = await under.store.pull(name, signal);
    expect(image).toMatchObject({
      digest: digestOf(disk),
      format: "qcow2",
      repoTags: [`${name}:latest`],
      repoDigests: [`${name}@${manifest}`],
    });
    expect(under.store.find(`${name}@${manifest}`)).toEqual(image);
    expect(under.store.find(`${name}@${image.digest}`)).toBeUndefined();
    expect(under.store.find(image.digest)).toEqual(image);
    expect((await under.reopen()).find(`${name}@${manifest}`)).toEqual(image);
  });

  test.each([
    ["application/vnd.oci.image.layer.v1.tar+gzip", gzipSync],
    ["application/vnd.oci.image.layer.v1.tar+zstd", zstdCompressSync],
    ["application/vnd.docker.image.rootfs.diff.tar.gzip", gzipSync],
  ])("a layer of %s", async (mediaType, pack) => {
    await using fixture = await openOciStore();
    const bytes = pack(tar([{ path: "disk/d.qcow2", bytes: disk }]));
    fixture.registry.push("vm", [{ mediaType, bytes }]);
    const { digest } = await fixture.under.store.pull(fixture.registry.nameOf("vm"), signal);
    expect(digest).toBe(digestOf(disk));
  });

  test.each([
    ["KubeVirt's export", "application/vnd.kubevirt.disk.raw+zstd", zstdCompressSync(raw()), raw()],
    ["an LF Edge qcow2", "application/vnd.lfedge.disk.layer.v1+qcow2", disk, disk],
    ["an LF Edge raw", "application/vnd.lfedge.disk.layer.v1+raw", raw(), raw()],
    ["an artifact of one plain layer", "application/octet-stream", disk, disk],
    ["an artifact of one gzip layer", "application/vnd.example.disk", gzipSync(disk), disk],
    [
      "two zstd frames",
      "application/zstd",
      Buffer.concat([disk.subarray(0, 999), disk.subarray(999)].map((part) => zstdCompressSync(part))),
      disk,
    ],
  ])("%s", async (_what, mediaType, bytes, expected) => {
    await using fixture = await openOciStore();
    fixture.registry.push("vm", [{ mediaType, bytes }], { artifactType: "application/vnd.example.v1" });
    const { digest } = await fixture.under.store.pull(fixture.registry.nameOf("vm"), signal);
    expect(digest).toBe(digestOf(expected));
  });

  test.each([
    ["a disk", disk],
    ["a packed disk", gzipSync(disk)],
  ])("%s as `oras push` names it, by the type of a tar archive", async (_what, bytes) => {
    await using fixture = await openOciStore();
    const { registry, under } = fixture;
    const config = { mediaType: "application/vnd.oci.empty.v1+json", ...registry.blob(Buffer.from("{}")) };
    const artifact = { artifactType: "application/vnd.unknown.artifact.v1", config };
    registry.push("vm", [{ mediaType: OCI_LAYER, bytes }], artifact);
    expect((await under.store.pull(registry.nameOf("vm"), signal)).digest).toBe(digestOf(disk));
  });

  test("a folder disk/ as `oras push` packs it", async () => {
    await using fixture = await openOciStore();
    const { registry, under } = fixture;
    const config = { mediaType: "application/vnd.oci.empty.v1+json", ...registry.blob(Buffer.from("{}")) };
    const bytes = gzipSync(tar([{ path: "disk/d.qcow2", bytes: disk }]));
    registry.push("vm", [{ mediaType: `${OCI_LAYER}+gzip`, bytes }], { config });
    expect((await under.store.pull(registry.nameOf("vm"), signal)).digest).toBe(digestOf(disk));
  });

  test("whom the image's author means to run in it, unless another image of the same disk says otherwise", async () => {
    await using fixture = await openOciStore();
    const { registry, under } = fixture;
    const pull = async (repository: string, user: string | undefined) => {
      const blob = registry.blob(Buffer.from(JSON.stringify({ config: user === undefined ? null : { User: user } })));
      const mediaType = "application/vnd.oci.image.config.v1+json";
      registry.push(repository, containerDisk(), { config: { mediaType, ...blob } });
      return under.store.pull(registry.nameOf(repository), signal);
    };
    expect((await pull("vm", "1001:100")).user).toBe("1001:100");
    expect((await pull("vm", "1001:100")).user).toBe("1001:100");
    expect((await under.reopen()).find(registry.nameOf("vm"))?.user).toBe("1001:100");
    expect((await pull("other", undefined)).user).toBe("");
    await expect(pull("hostile", "a\nb")).rejects.toMatchObject({ failure: { code: "IMAGE_REFUSED" } });
  });

  test("of an index the manifest for this machine, and the index is what the name is pinned by", async () => {
    await using fixture = await openOciStore();
    const { registry, under } = fixture;
    const manifests = [];
    for (const [architecture, bytes] of [
      ["other", qcow2({ content: "other", virtualSizeBytes: BigInt(MIB) })],
      [arch, disk],
    ] as const) {
      const digest = registry.push("vm", containerDisk(bytes), {}, `only-${architecture}`);
      manifests.push({ mediaType: OCI_MANIFEST, digest, size: 1, platform: { os: "linux", architecture } });
    }
    const index = registry.manifest("vm", "latest", OCI_INDEX, { manifests });
    const image = await under.store.pull(registry.nameOf("vm"), signal);
    expect(image).toMatchObject({ digest: digestOf(disk), repoDigests: [`${registry.nameOf("vm")}@${index}`] });
    const pinned = await under.store.pull(`${registry.nameOf("vm")}@${index}`, signal);
    expect(pinned.digest).toBe(image.digest);
  });

  const other = { os: "linux", architecture: arch };
  const nobody = { os: "unknown", architecture: "unknown" };
  test.each([
    [
      "the least that its processors have in common",
      [
        { ...other, variant: "v3" },
        { ...other, variant: "v2" },
      ],
      1,
    ],
    ["the one for all of its processors", [{ ...other, variant: "v2" }, other], 1],
    ["the one that tells no platform, beside its attestation", [nobody, undefined], 1],
  ])("of an index for this machine %s", async (_what, platforms, wanted) => {
    await using fixture = await openOciStore();
    const { registry, under } = fixture;
    const manifests = platforms.map((platform, index) => {
      const layers = containerDisk(index === wanted ? disk : qcow2({ content: `${index}` }));
      const digest = registry.push("vm", layers, {}, `${index}`);
      return { mediaType: OCI_MANIFEST, digest, size: 1, ...(platform === undefined ? {} : { platform }) };
    });
    registry.manifest("vm", "latest", OCI_INDEX, { manifests });
    expect((await under.store.pull(registry.nameOf("vm"), signal)).digest).toBe(digestOf(disk));
  });

  test("a plain reference under a prefix that the node names", async () => {
    await using fixture = await openOciStore();
    fixture.registry.push("disks/a", containerDisk());
    const name = `${fixture.registry.host}/disks/a`;
    expect(await fixture.under.store.pull(name, signal)).toMatchObject({ repoTags: [`${name}:latest`] });
    await expect(fixture.under.store.pull(`${fixture.registry.host}/other/a`, signal)).rejects.toMatchObject({
      failure: { code: "IMAGE_NOT_FOUND" },
    });
  });
});

test("what is here is not fetched again, under whatever name; the registry is asked each time", async () => {
  await using fixture = await openOciStore();
  const { registry, under } = fixture;
  const manifest = registry.push("vm", containerDisk());
  registry.push("vm", containerDisk(), {}, "again");
  const name = registry.nameOf("vm");
  await under.store.pull(name, signal);
  const blobs = () => registry.paths().filter((path) => path.includes("/blobs/")).length;
  expect(blobs()).toBe(1);
  await under.store.pull(name, signal);
  const image = await under.store.pull(`${name}:again`, signal);
  await under.store.pull(`${name}@${manifest}`, signal);
  expect(image.repoTags).toEqual([`${name}:again`, `${name}:latest`]);
  expect(blobs()).toBe(1);
  expect(registry.paths().filter((path) => path.includes("/manifests/"))).toHaveLength(4);
});

test("pulls of two names for one manifest at the same time are one download", async () => {
  await using fixture = await openOciStore();
  const { registry, under } = fixture;
  registry.push("vm", containerDisk());
  registry.push("vm", containerDisk(), {}, "again");
  const names = [1, 2, 3].flatMap(() => [registry.nameOf("vm"), `${registry.nameOf("vm")}:again`]);
  const images = await Promise.all(names.map(async (name) => under.store.pull(name, signal)));
  expect(new Set(images.map(({ digest }) => digest))).toEqual(new Set([digestOf(disk)]));
  expect(registry.paths().filter((path) => path.includes("/blobs/"))).toHaveLength(1);
});

test("a tag that moved is another image", async () => {
  await using fixture = await openOciStore();
  const { registry, under } = fixture;
  const name = registry.nameOf("vm");
  registry.push("vm", containerDisk());
  const old = await under.store.pull(name, signal);
  registry.push("vm", containerDisk(raw()));
  const current = await under.store.pull(name, signal);
  expect(current.digest).toBe(digestOf(raw()));
  expect(await under.hasBytes(old.digest)).toBe(false);
});

describe("refused, with what was found", () => {
  const zstd = (bytes: Uint8Array) => ({
    mediaType: "application/vnd.kubevirt.disk.raw+zstd",
    bytes: zstdCompressSync(bytes),
  });
  test.each([
    ["a container image", [{ mediaType: OCI_LAYER, bytes: tar([{ path: "bin/sh" }]) }], {}, "no file under disk/"],
    ["two KubeVirt disks", [zstd(raw()), zstd(disk)], {}, "2 disks"],
    ["a qcow2 that calls itself raw", [zstd(disk)], {}, "is qcow2 where its source tells of a raw disk"],
    [
      "an LF Edge ISO",
      [{ mediaType: "application/vnd.lfedge.disk.layer.v1+iso", bytes: disk }],
      {},
      "disk.layer.v1+iso",
    ],
    [
      "Tart's chunks",
      [1, 2].map(() => ({ mediaType: "application/vnd.cirruslabs.tart.disk.v2", bytes: disk })),
      {},
      "application/vnd.cirruslabs.tart.disk.v2",
    ],
    [
      "no layers",
      [],
      { artifactType: "application/vnd.example.signature" },
      "there are none (application/vnd.example.signature)",
    ],
    [
      "a helm chart",
      [{ mediaType: "application/vnd.cncf.helm.chart.content.v1.tar+gzip", bytes: gzipSync("x") }],
      {},
      "helm.chart",
    ],
    ["a web page", [{ mediaType: "text/html", bytes: Buffer.from("<!DOCTYPE html><html>") }], {}, "the file"],
    ["xz", [{ mediaType: "application/x-xz", bytes: Buffer.from("fd377a585a000004", "hex") }], {}, "the file"],
    ["broken zstd", [{ mediaType: "a/b", bytes: zstdCompressSync(disk).subarray(0, -9) }], {}, "is broken zstd data"],
    [
      "gzip with more behind it",
      [{ mediaType: "a/b", bytes: Buffer.concat([gzipSync(disk), Buffer.from("more")]) }],
      {},
      "gzip",
    ],
  ])("%s", async (_what, layers, more, message) => {
    await using fixture = await openOciStore();
    const before = await fixture.under.files();
    fixture.registry.push("vm", layers, more);
    const pulling = fixture.under.store.pull(fixture.registry.nameOf("vm"), signal);
    await expect(pulling).rejects.toMatchObject({ failure: { code: "IMAGE_REFUSED" } });
    await expect(pulling).rejects.toThrow(message);
    expect(await fixture.under.files()).toEqual(before);
  });

  test.each([
    ["an index for other machines", OCI_INDEX, { manifests: [] }, "this node is linux/"],
    ["an index and a manifest at once", OCI_MANIFEST, { manifests: [], layers: [] }, "at once"],
    ["a manifest without layers", OCI_MANIFEST, { config: {} }, "malformed"],
    ["layers beyond measure", OCI_MANIFEST, { layers: Array(100_000).fill({}) }, "has 100000 layers; 256 are taken"],
    ["platforms beyond measure", OCI_INDEX, { manifests: Array(100_000).fill({}) }, "100000 manifests; 1000 are taken"],
    [
      "a digest of another kind",
      OCI_MANIFEST,
      { config: { digest: `sha512:${"0".repeat(128)}`, size: 1 }, layers: [] },
      "sha256",
    ],
    ["a type that nobody knows", "application/vnd.example.v9+json", {}, "vnd.example.v9"],
    ["schema 1", "application/vnd.docker.distribution.manifest.v1+json", { schemaVersion: 1 }, "schema 1"],
  ])("%s", async (_what, type, content, message) => {
    await using fixture = await openOciStore();
    fixture.registry.manifest("vm", "latest", type, content);
    const pulling = fixture.under.store.pull(fixture.registry.nameOf("vm"), signal);
    await expect(pulling).rejects.toMatchObject({ failure: { code: "IMAGE_REFUSED" } });
    await expect(pulling).rejects.toThrow(message);
  });

  test("a layer that unpacks to more than the limit", async () => {
    await using fixture = await openOciStore({ maxVirtualSizeBytes: "1Mi" });
    fixture.registry.push("bomb", [
      { mediaType: "a/b", bytes: gzipSync(Buffer.concat([raw(), Buffer.alloc(32 * MIB)])) },
    ]);
    const layer = tar([
      { path: "other", bytes: Buffer.alloc(32 * MIB) },
      { path: "disk/d", bytes: disk },
    ]);
    fixture.registry.push("tar", [{ mediaType: OCI_LAYER, bytes: gzipSync(layer) }]);
    for (const repository of ["bomb", "tar"]) {
      const pulling = fixture.under.store.pull(fixture.registry.nameOf(repository), signal);
      await expect(pulling).rejects.toThrow("maxVirtualSizeBytes");
    }
  });

  test("a layer that is larger than the limit, before it is fetched", async () => {
    await using fixture = await openOciStore({ maxImageBytes: 1000 });
    fixture.registry.push("vm", containerDisk());
    fixture.registry.push("plain", [{ mediaType: "a/b", bytes: disk }]);
    for (const repository of ["vm", "plain"]) {
      const pulling = fixture.under.store.pull(fixture.registry.nameOf(repository), signal);
      await expect(pulling).rejects.toThrow("maxImageBytes");
    }
    expect(fixture.registry.paths().filter((path) => path.includes("/blobs/"))).toEqual([]);
  });
});

describe("a registry that lies", () => {
  test("about a manifest that was asked for by its digest", async () => {
    await using fixture = await openOciStore();
    const manifest = fixture.registry.push("vm", containerDisk());
    fixture.registry.hook = (request, response) => {
      send(request, response, Buffer.from("{}"), { "content-type": OCI_MANIFEST });
      return true;
    };
    await expect(
      fixture.under.store.pull(`${fixture.registry.nameOf("vm")}@${manifest}`, signal),
    ).rejects.toMatchObject({
      failure: { code: "IMAGE_DIGEST_MISMATCH", wanted: manifest, found: digestOf(Buffer.from("{}")) },
    });
  });

  const lies: Readonly<Record<string, (bytes: Uint8Array) => Uint8Array>> = {
    wrong: (bytes) => bytes.map((byte, index) => (index === bytes.length - 1 ? 1 : byte)),
    longer: (bytes) => Buffer.concat([bytes, Buffer.from("x")]),
    shorter: (bytes) => bytes.subarray(0, -1),
    endless: (bytes) => bytes,
  };

  test.each([
    ["wrong", "IMAGE_DIGEST_MISMATCH", "a layer hashes to"],
    ["longer", "IMAGE_SOURCE_REFUSED", "sends more than"],
    ["shorter", "IMAGE_SOURCE_REFUSED", "announces"],
    ["endless", "IMAGE_SOURCE_REFUSED", "sends more than"],
  ])("about a layer: %s", async (answer, code, message) => {
    await using fixture = await openOciStore();
    const before = await fixture.under.files();
    const [layer] = containerDisk();
    fixture.registry.push("vm", containerDisk());
    fixture.registry.hook = (request, response, url) => {
      if (!url.pathname.includes("/blobs/") || layer === undefined) return false;
      const content = lies[answer]?.(layer.bytes) ?? layer.bytes;
      if (answer === "endless") {
        const more = () => {
          while (response.write(content) && !response.destroyed);
        };
        response.on("drain", more);
        more();
        return true;
      }
      if (answer === "longer") response.writeHead(200).end(content);
      else send(request, response, content);
      return true;
    };
    const pulling = fixture.under.store.pull(fixture.registry.nameOf("vm"), signal);
    await expect(pulling).rejects.toMatchObject({ failure: { code } });
    await expect(pulling).rejects.toThrow(message);
    expect(await fixture.under.files()).toEqual(before);
  });

  test("about the length of its manifest: no more than the limit is read", async () => {
    await using fixture = await openOciStore();
    fixture.registry.hook = (_request, response) => {
      response.writeHead(200, { "content-type": OCI_MANIFEST }).end(Buffer.alloc(5 * MIB, 0x20));
      return true;
    };
    await expect(fixture.under.store.pull(fixture.registry.nameOf("vm"), signal)).rejects.toThrow("more than 1048576");
  });
});

test("a layer whose connection breaks is gone on with where it broke", async () => {
  await using fixture = await openOciStore();
  const [layer] = containerDisk();
  fixture.registry.push("vm", containerDisk());
  const ranges: (string | undefined)[] = [];
  fixture.registry.hook = (request, response, url) => {
    if (!url.pathname.includes("/blobs/") || layer === undefined) return false;
    ranges.push(request.headers.range);
    if (ranges.length > 3) return false;
    const from = Number(/\d+/.exec(request.headers.range ?? "0")?.[0]);
    const status = from === 0 ? 200 : 206;
    const headers = {
      "content-length": layer.bytes.length - from,
      "content-range": `bytes ${from}-${layer.bytes.length - 1}/${layer.bytes.length}`,
    };
    response.writeHead(status, headers).write(layer.bytes.subarray(from, from + 1000), () => response.destroy());
    return true;
  };
  const { digest } = await fixture.under.store.pull(fixture.registry.nameOf("vm"), signal);
  expect(digest).toBe(digestOf(disk));
  expect(ranges).toEqual([undefined, "bytes=1000-", "bytes=2000-", "bytes=3000-"]);
});

test("a registry without ranges is read again from the beginning after a break", async () => {
  await using fixture = await openOciStore();
  const [layer] = containerDisk();
  fixture.registry.push("vm", containerDisk());
  let asked = 0;
  fixture.registry.hook = (_request, response, url) => {
    if (!url.pathname.includes("/blobs/") || layer === undefined) return false;
    response.writeHead(200, { "content-length": layer.bytes.length });
    if (++asked === 1) response.write(layer.bytes.subarray(0, 1000), () => response.destroy());
    else response.end(layer.bytes);
    return true;
  };
  const { digest } = await fixture.under.store.pull(fixture.registry.nameOf("vm"), signal);
  expect([asked, digest]).toEqual([2, digestOf(disk)]);
});

test("one who leaves ends the download, and nothing is left of it", async () => {
  await using fixture = await openOciStore();
  const before = await fixture.under.files();
  fixture.registry.push("vm", containerDisk());
  const { promise: begun, resolve } = Promise.withResolvers<void>();
  fixture.registry.hook = (_request, response, url) => {
    if (!url.pathname.includes("/blobs/")) return false;
    response.writeHead(200);
    response.write(tar([{ path: "disk/d", bytes: disk }]).subarray(0, 3000), () => resolve());
    return true;
  };
  const leaving = new AbortController();
  const pulling = fixture.under.store.pull(fixture.registry.nameOf("vm"), leaving.signal);
  const outcome = expect(pulling).rejects.toThrow("left");
  await begun;
  leaving.abort(new Error("left"));
  await outcome;
  expect(await fixture.under.files()).toEqual(before);
});
