// VMs from disks in a registry, a containerDisk by buildah and KubeVirt's export, asked for as the kubelet does: with a
// pull secret, by tag and by digest.

import { copyFile, mkdir, mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { zstdCompressSync } from "node:zlib";
import { status } from "@grpc/grpc-js";
import { afterAll, beforeAll, expect, test } from "vitest";
import { AuthConfig, ImageSpec } from "../../../src/gen/runtime.ts";
import { run } from "../../../src/lib/spawn.ts";
import { startTestNode, type TestNode } from "../../node/test-node.ts";
import { buildAndPush } from "../images/buildah.ts";
import { DockerRegistry } from "../images/docker-registry.ts";
import { writeOciLayout } from "../images/oci-layout.ts";
import { BOOT_LIMIT_MS, VmPod } from "./vm-pod.ts";

const suite = AbortSignal.timeout(600_000);
const login = { username: "puller", password: "secret" };
const parts = new AsyncDisposableStack();
let node: TestNode;
let registry: DockerRegistry;

beforeAll(async () => {
  const folder = await mkdtemp(join(tmpdir(), "vmlet-oci-"));
  parts.defer(async () => rm(folder, { recursive: true, force: true }));
  registry = parts.use(await DockerRegistry.start({ isTls: true, login }, suite));
  const hostsFolderPath = join(folder, "certs.d");
  await registry.writeHosts(hostsFolderPath);
  await mkdir(join(folder, "images"));
  const config = { images: { allowHttp: true, registry: { hostsFolderPath, authPath: join(folder, "none.json") } } };
  node = parts.use(await startTestNode({ config }, suite));

  const qcow2Path = join(node.layout.imageFolderPath, "tiny.qcow2");
  const contextPath = join(folder, "context");
  await mkdir(contextPath);
  await copyFile(qcow2Path, join(contextPath, "tiny.qcow2"));
  await writeFile(join(contextPath, "Dockerfile"), "FROM scratch\nADD --chown=107:107 tiny.qcow2 /disk/\n");
  await buildAndPush(contextPath, registry, "vms/tiny:1", suite);

  const rawPath = join(folder, "tiny.raw");
  const converted = await run("qemu-img", ["convert", "-O", "raw", qcow2Path, rawPath], {}, suite);
  expect(converted.exitCode, converted.stderr).toBe(0);
  const raw = { mediaType: "application/vnd.kubevirt.disk.raw+zstd", bytes: zstdCompressSync(await readFile(rawPath)) };
  const type = "application/vnd.kubevirt.virtualmachine.config.v1+json";
  await registry.push(await writeOciLayout(join(folder, "images/export"), [raw], type), "vms/export:1", [], suite);
}, 300_000);

afterAll(async () => parts.disposeAsync(), 120_000);

const statusOf = async (name: string) => {
  const image = ImageSpec.fromPartial({ image: name });
  return (await node.cri.image.imageStatus({ image, verbose: false }, suite)).image;
};

test.each(["vms/tiny", "vms/export"])(
  "%s is pulled with the pod's secret and boots",
  async (repository) => {
    const name = registry.nameOf(`${repository}:1`);
    const auth = AuthConfig.fromPartial(login);
    const { imageRef } = await node.cri.image.pullImage(
      { image: ImageSpec.fromPartial({ image: name }), auth, sandboxConfig: undefined },
      suite,
    );
    const found = await statusOf(name);
    expect(found).toMatchObject({ id: imageRef, repoTags: [name] });
    const [pinned = ""] = found?.repoDigests ?? [];
    expect((await statusOf(pinned))?.id).toBe(imageRef);

    const pod = await VmPod.start(node, { name: repository.replace("/", "-"), image: pinned, auth }, suite);
    await pod.says("tiny: ready", suite);
    expect((await pod.status(suite)).imageRef).toBe(imageRef);
    await pod.remove(suite);
  },
  BOOT_LIMIT_MS + 120_000,
);

test("without the secret the kubelet is told that it is denied", async () => {
  const image = ImageSpec.fromPartial({ image: registry.nameOf("vms/tiny:1") });
  const pulling = node.cri.image.pullImage({ image, auth: undefined, sandboxConfig: undefined }, suite);
  await expect(pulling).rejects.toMatchObject({
    code: status.PERMISSION_DENIED,
    details: expect.stringContaining("no credentials for"),
  });
});
