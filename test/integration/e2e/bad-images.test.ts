// Images that cannot be had or must not be used: the kubelet is told which, why and what to do, and no byte stays.

import { createHash, randomFillSync } from "node:crypto";
import { mkdir, mkdtemp, readdir, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { status } from "@grpc/grpc-js";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { ImageSpec, ListImagesRequest } from "../../../src/gen/runtime.ts";
import { qcow2, raw } from "../../fakes/disk-image.ts";
import { mountSmallDisk, type SmallDisk } from "../../fakes/small-disk.ts";
import { WebServer } from "../../fakes/web-server.ts";
import { output } from "../../node/command.ts";
import { startTestNode, type TestNode } from "../../node/test-node.ts";
import { expectRefused, refusalOf } from "./refusals.ts";
import { containerConfigOf, podConfigOf, VmPod } from "./vm-pod.ts";

const MIB = 1 << 20;
const suite = AbortSignal.timeout(300_000);

const pull = async (node: TestNode, image: string): Promise<string> => {
  const request = { image: ImageSpec.fromPartial({ image }), auth: undefined, sandboxConfig: undefined };
  return (await node.cri.image.pullImage(request, suite)).imageRef;
};
const listed = async (node: TestNode): Promise<readonly unknown[]> =>
  (await node.cri.image.listImages(ListImagesRequest.fromPartial({}), suite)).images;

/** A disk as QEMU's own tool makes it. */
async function qemuImgMade(...args: string[]): Promise<Buffer> {
  const folderPath = await mkdtemp(join(tmpdir(), "vmlet-bad-"));
  try {
    await writeFile(join(folderPath, "base.raw"), raw());
    await output(["/usr/bin/env", "-C", folderPath, "qemu-img", "create", "-q", ...args], suite);
    return await readFile(join(folderPath, "made.qcow2"));
  } finally {
    await rm(folderPath, { recursive: true, force: true });
  }
}

describe("an image", () => {
  let node: TestNode;
  let server: WebServer;

  beforeAll(async () => {
    server = await WebServer.listen();
    node = await startTestNode({ config: { images: { maxImageBytes: "4Mi" } } }, suite);
  });
  afterAll(async () => {
    await node[Symbol.asyncDispose]();
    await server[Symbol.asyncDispose]();
  });

  const expectBad = async (image: string, code: status, details: RegExp): Promise<void> => {
    await expectRefused(node, async () => await pull(node, image), { code, details }, suite);
    expect(await listed(node)).toEqual([]);
    const folderPath = join(node.layout.stateFolderPath, "images");
    expect(await readdir(join(folderPath, "partial"))).toEqual([]);
    expect(await readdir(join(folderPath, "blobs/sha256"))).toEqual([]);
  };

  test.each([
    ["a web page", Buffer.from("<!doctype html><title>Log in</title>".padEnd(4096)), /web page|boot signature/],
    ["a disk without a boot signature", Buffer.alloc(MIB), /boot sector .*requireBootSignature/],
    ["a qcow2 that is cut short", qcow2().subarray(0, 70_000), /ends before|outside|behind|beyond|short/],
    ["a disk image of another format", Buffer.concat([Buffer.from("KDMV"), Buffer.alloc(MIB)]), /VMDK/i],
    ["a file with more bytes than the node takes", raw(16_384), /4194304 bytes \(maxImageBytes\)/],
    ["a qcow2 that claims more than the node takes", qcow2({ virtualSizeBytes: 1n << 50n }), /virtual/i],
    ["nothing", Buffer.alloc(0), /is empty/],
  ])("that is %s is refused", async (_what, bytes, why) => {
    server.serve("/image", bytes);
    await expectBad(server.nameOf("/image"), status.INVALID_ARGUMENT, why);
  });

  test("that is a qcow2 with a backing file is refused, for it would read the node's files", async () => {
    server.serve("/backed", await qemuImgMade("-f", "qcow2", "-F", "raw", "-b", "base.raw", "made.qcow2"));
    await expectBad(server.nameOf("/backed"), status.INVALID_ARGUMENT, /backing file/);
  });

  test("that is a qcow2 with a data file is refused, for it would write the node's files", async () => {
    server.serve("/split", await qemuImgMade("-f", "qcow2", "-o", "data_file=data.raw", "made.qcow2", "1M"));
    await expectBad(server.nameOf("/split"), status.INVALID_ARGUMENT, /external file.*qemu-img convert/);
  });

  test("whose download ends early is the registry's trouble, and said to be worth another try", async () => {
    server.on("/cut", (_request, response) => {
      response.writeHead(200, { "content-length": MIB });
      response.write(qcow2(), () => response.destroy());
    });
    await expectBad(server.nameOf("/cut"), status.UNKNOWN, /^RegistryUnavailable: http:.*\/cut .*cut off.*try again/);
  });

  test("with other bytes than its name pins is refused, naming both digests", async () => {
    server.serve("/image", qcow2());
    const found = `sha256:${createHash("sha256").update(qcow2()).digest("hex")}`;
    const wanted = `sha256:${"0".repeat(64)}`;
    const details = new RegExp(`hash to ${found}, not to ${wanted}`);
    await expectBad(`${server.nameOf("/image")}@${wanted}`, status.FAILED_PRECONDITION, details);
  });

  test("that is not on the server is not found, and the URL is told", async () => {
    await expectBad(server.nameOf("/absent"), status.NOT_FOUND, /http:.*\/absent answers 404.*check the name/);
  });

  test("that wants a password says so", async () => {
    server.on("/private", (_request, response) => void response.writeHead(401).end());
    await expectBad(server.nameOf("/private"), status.PERMISSION_DENIED, /wants credentials/);
  });

  test("on a server that redirects for ever is given up, naming the limit", async () => {
    server.on("/loop", (_request, response) => void response.writeHead(302, { location: "/loop" }).end());
    const details = /\/loop redirects more than 5 times \(maxRedirects\)/;
    await expectBad(server.nameOf("/loop"), status.FAILED_PRECONDITION, details);
    server.on("/file", (_request, response) => void response.writeHead(302, { location: "file:///etc/shadow" }).end());
    await expectBad(server.nameOf("/file"), status.FAILED_PRECONDITION, /not http/);
  });

  test("on a server that fails or is not there is the registry's trouble", async () => {
    server.on("/broken", (_request, response) => void response.writeHead(503).end());
    await expectBad(server.nameOf("/broken"), status.UNKNOWN, /^RegistryUnavailable: .* answers 503; try again later/);
    await expectBad("vmlet.dev/http/127.0.0.1__1/x", status.UNKNOWN, /^RegistryUnavailable: .*nothing listens there/);
  });

  test("behind a certificate that nobody vouches for is not fetched, and the remedy is a setting", async () => {
    const folderPath = await mkdtemp(join(tmpdir(), "vmlet-tls-"));
    const [key, cert] = [join(folderPath, "key"), join(folderPath, "cert")] as const;
    const ec = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"];
    const name = ["-subj", "/CN=test", "-addext", "subjectAltName=IP:127.0.0.1", "-days", "2"];
    await output(["/usr/bin/openssl", "req", "-x509", ...ec, ...name, "-keyout", key, "-out", cert], suite);
    await using https = await WebServer.listen({ key: await readFile(key), cert: await readFile(cert) });
    await rm(folderPath, { recursive: true });
    https.serve("/image", qcow2());
    await expectBad(https.nameOf("/image"), status.UNKNOWN, /^RegistryUnavailable: https:.*does not trust.*\(caPath\)/);
    expect(https.requests).toEqual([]);
  });

  test.each([
    ["", /image\.image: must be set/],
    ["Vmlet.Dev/HTTPS/host/Image", /lower case/],
    ["a b", /not a part of a name/],
    ["vmlet.dev/https/host", /needs a host and a path/],
    ["vmlet.dev/https/../etc/passwd", /not a/],
    ["vmlet.dev/https/host__99999/x", /port/],
    ["https://example.com/image.qcow2", /a URL is not an image name/],
    ["vmlet.dev/https/host/x\n--config=/etc/shadow", /not a part of a name/],
    ["vmlet.dev/https/host/x@sha256:zz", /not a digest/],
    ["json:{}", /./],
    ["/etc/passwd", /not a part of a name/],
    ["x".repeat(100_000), /longer than 720 characters/],
    [`a${"-".repeat(200)}!`, /not a part of a name/],
  ])("name %# cannot be read: it is quoted with the reason", async (image, why) => {
    await expectBad(image, status.INVALID_ARGUMENT, why);
  });

  test("that was never pulled is a clear answer of CreateContainer, which leaves nothing", async () => {
    const podConfig = podConfigOf(node, "early");
    const { podSandboxId } = await node.cri.runtime.runPodSandbox({ config: podConfig, runtimeHandler: "" }, suite);
    const config = containerConfigOf(server.nameOf("/never"));
    await expectRefused(
      node,
      async () => await node.cri.runtime.createContainer({ podSandboxId, config, sandboxConfig: podConfig }, suite),
      { code: status.NOT_FOUND, details: /config\.image\.image: .*\/never.*pull it first/ },
      suite,
    );
    await node.cri.runtime.removePodSandbox({ podSandboxId }, suite);
  });
});

describe("a node whose disk is full", () => {
  let disk: SmallDisk;
  let node: TestNode;
  let server: WebServer;

  beforeAll(async () => {
    disk = await mountSmallDisk(4 * MIB);
    server = await WebServer.listen();
    node = await startTestNode({ config: { stateFolderPath: disk.path } }, suite);
  });
  afterAll(async () => {
    await node[Symbol.asyncDispose]();
    await server[Symbol.asyncDispose]();
    await disk[Symbol.asyncDispose]();
  });

  const files = async (): Promise<string[]> => (await readdir(disk.path, { recursive: true })).toSorted();
  const fill = async (): Promise<AsyncDisposable> => {
    const path = join(disk.path, "filler");
    await output(["/usr/bin/dd", "if=/dev/zero", `of=${path}`, "bs=4k", "status=none"], suite).catch(() => {});
    return { [Symbol.asyncDispose]: async () => await rm(path) };
  };

  test("refuses an image that does not fit before a byte of it is here, with needed and free", async () => {
    const before = await files();
    server.serve("/large", raw(16_384));
    const { code, details } = await refusalOf(pull(node, server.nameOf("/large")));
    expect(code).toBe(status.RESOURCE_EXHAUSTED);
    expect(details).toMatch(/images: 8388608 bytes are needed and \d+ are free; remove images or make room/);
    expect(await files()).toEqual(before);
  });

  test("gives up an image of unknown length when it has no more room, and has the room again", async () => {
    const before = await files();
    server.on("/endless", (_request, response) => {
      const disk8M = randomFillSync(Buffer.from(raw(16_384)), 512); // zeros would take no room
      response.writeHead(200); // chunked: no length
      response.end(disk8M);
    });
    const { code, details } = await refusalOf(pull(node, server.nameOf("/endless")));
    expect(code).toBe(status.RESOURCE_EXHAUSTED);
    expect(details).toContain(disk.path);
    expect(await files()).toEqual(before);
  });

  test("runs no pod, makes no container, and loses nothing: both succeed when there is room again", async () => {
    server.serve("/image", qcow2());
    const image = server.nameOf("/image");
    await pull(node, image);
    const podConfig = podConfigOf(node, "full");
    await mkdir(join(disk.path, "cni"), { recursive: true });
    const before = await files();
    {
      await using _full = await fill();
      const run = node.cri.runtime.runPodSandbox({ config: podConfig, runtimeHandler: "vmlet" }, suite);
      expect(await refusalOf(run)).toMatchObject({
        code: status.RESOURCE_EXHAUSTED,
        details: expect.stringContaining(disk.path),
      });
    }
    expect(await files()).toEqual(before);
    const { podSandboxId } = await node.cri.runtime.runPodSandbox({ config: podConfig, runtimeHandler: "" }, suite);
    const withPod = await files();
    const request = { podSandboxId, config: containerConfigOf(image), sandboxConfig: podConfig };
    {
      await using _full = await fill();
      expect(await refusalOf(node.cri.runtime.createContainer(request, suite))).toMatchObject({
        code: status.RESOURCE_EXHAUSTED,
        details: expect.stringContaining(disk.path),
      });
    }
    expect(await files()).toEqual(withPod);
    await node.cri.runtime.createContainer(request, suite);
    await node.cri.runtime.stopPodSandbox({ podSandboxId }, suite);
    await node.cri.runtime.removePodSandbox({ podSandboxId }, suite);
    expect(await files()).toEqual(before);
    expect(await node.leftovers(suite)).toEqual([]);
  });

  test("still removes what it has: a pod, its container and an image", async () => {
    server.serve("/image", qcow2());
    const pod = await VmPod.create(node, { name: "last", image: server.nameOf("/image") }, suite);
    await using _full = await fill();
    await pod.remove(suite);
    await node.cri.image.removeImage({ image: ImageSpec.fromPartial({ image: server.nameOf("/image") }) }, suite);
    expect(await listed(node)).toEqual([]);
    expect(await node.leftovers(suite)).toEqual([]);
  });
});
