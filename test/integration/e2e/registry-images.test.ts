// VMs from disks in a registry, a containerDisk by buildah and KubeVirt's export, asked for as the kubelet does: with a
// pull secret, by tag and by digest. What a guest writes to its raw disk is never taken for more than bytes.

import { copyFile, mkdir, mkdtemp, readdir, readFile, readlink, rm, stat, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { basename, join } from "node:path";
import { zstdCompressSync } from "node:zlib";
import { status } from "@grpc/grpc-js";
import { afterAll, beforeAll, beforeEach, describe, expect, test } from "vitest";
import { AuthConfig, ImageSpec } from "../../../src/gen/runtime.ts";
import { run } from "../../../src/lib/spawn.ts";
import { qcow2 } from "../../fakes/disk-image.ts";
import { mountSmallDisk } from "../../fakes/small-disk.ts";
import { output } from "../../node/command.ts";
import { startTestNode, type TestNode } from "../../node/test-node.ts";
import { buildAndPush } from "../images/buildah.ts";
import { DockerRegistry } from "../images/docker-registry.ts";
import { writeOciLayout } from "../images/oci-layout.ts";
import { agentAnswers, guestSh } from "./guest-shell.ts";
import { qemuPid } from "./qemu-process.ts";
import { BOOT_LIMIT_MS, VmPod, virsh } from "./vm-pod.ts";

const suite = AbortSignal.timeout(600_000);
const TEST_LIMIT_MS = BOOT_LIMIT_MS + 120_000;
const MIB = 1024 * 1024;
const login = { username: "puller", password: "secret" };
const parts = new AsyncDisposableStack();
let node: TestNode;
let registry: DockerRegistry;
let folder = "";

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), "vmlet-oci-"));
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
beforeEach(async () => await node.revive(suite));

const statusOf = async (name: string) => {
  const image = ImageSpec.fromPartial({ image: name });
  return (await node.cri.image.imageStatus({ image, verbose: false }, suite)).image;
};

/** Pulled with the pod's secret by tag, and started by digest. */
async function boot(repository: string): Promise<VmPod> {
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
  return pod;
}

test("a containerDisk is pulled with the pod's secret and boots", { timeout: TEST_LIMIT_MS }, async () => {
  const pod = await boot("vms/tiny");
  await pod.remove(suite);
});

describe("KubeVirt's export, a raw disk", () => {
  let pod: VmPod;
  let domain = "";

  test("is pulled with the pod's secret and boots", { timeout: TEST_LIMIT_MS }, async () => {
    pod = await boot("vms/export");
    domain = await pod.domain(suite);
  });

  test("is no qcow2 to anyone when its guest has written the header of one that leans on a host file", {
    timeout: TEST_LIMIT_MS,
  }, async () => {
    await using disk = await mountSmallDisk(MIB, "strictatime"); // notes each reading
    const canaryPath = join(disk.path, "canary");
    await writeFile(canaryPath, "canary ".repeat(10_000), { mode: 0o644 });
    const readAtNs = async () => (await stat(canaryPath, { bigint: true })).atimeNs;
    await agentAnswers(pod, suite);
    await guestSh(domain, becomesQcow2On(canaryPath), suite);
    const asWrittenAtNs = await readAtNs();

    await virsh(["destroy", domain], suite);
    await pod.exited(suite);
    await virsh(["start", domain], suite); // opens the machine's own disk again, which a next attempt would not
    const expectBytesOnly = async () => {
      expect((await blockDriversOf(domain)).toSorted()).toEqual(["qcow2 disk.qcow2", "raw image", "raw seed.iso"]);
      const open = await openFilesOf(await qemuPid(pod.containerId));
      expect(open.filter((path) => path.endsWith("/disk.qcow2"))).not.toEqual([]);
      expect(open).not.toContain(canaryPath);
    };
    await expectBytesOnly();
    await node.kill(suite);
    await node.start(suite);
    await expectBytesOnly();
    expect(await readAtNs()).toBe(asWrittenAtNs);

    // Whoever guesses what the guest's disk is would have read the canary.
    await virsh(["destroy", domain], suite);
    const { podId, containerId } = pod;
    const overlayPath = join(node.layout.stateFolderPath, "pods", podId, "machines", containerId, "disk.qcow2");
    const [flatPath, readPath] = [join(folder, "flat"), join(folder, "read")];
    await output(["/usr/bin/qemu-img", "convert", "-f", "qcow2", "-O", "raw", overlayPath, flatPath], suite);
    await output(["/usr/bin/qemu-img", "convert", "-O", "raw", flatPath, readPath], suite);
    expect((await readFile(readPath)).subarray(0, 14).toString()).toBe("canary canary ");
    await pod.remove(suite);
  });
});

test("without the secret the kubelet is told that it is denied", async () => {
  const image = ImageSpec.fromPartial({ image: registry.nameOf("vms/tiny:1") });
  const pulling = node.cri.image.pullImage({ image, auth: undefined, sandboxConfig: undefined }, suite);
  await expect(pulling).rejects.toMatchObject({
    code: status.PERMISSION_DENIED,
    details: expect.stringContaining("no credentials for"),
  });
});

/** For a guest's shell: the first disk begins like a qcow2 with nothing in it and that file behind it. */
function becomesQcow2On(path: string): string {
  const header = qcow2({ backingOffset: 1024n, backingSize: Buffer.byteLength(path), virtualSizeBytes: BigInt(MIB) });
  header.write(path, 1024, "latin1");
  const l1Table = "dd if=/dev/zero of=/dev/vda bs=65536 seek=3 count=1 conv=notrunc,fsync";
  const first = "dd of=/dev/vda bs=4096 count=1 iflag=fullblock conv=notrunc,fsync";
  return `echo ${header.subarray(0, 4096).toString("base64")} | base64 -d | ${first} && ${l1Table}`;
}

/** Each file that QEMU uses as a disk, with the format that it takes it for; the blob of an image is `image`. */
async function blockDriversOf(domain: string): Promise<readonly string[]> {
  const query = JSON.stringify({ execute: "query-named-block-nodes", arguments: { flat: true } });
  const { return: nodes } = JSON.parse(await virsh(["qemu-monitor-command", domain, query], suite)) as {
    readonly return: readonly { readonly drv: string; readonly file: string }[];
  };
  const formats = nodes.filter(({ drv }) => drv !== "file");
  return formats.map(({ drv, file }) => `${drv} ${basename(file).replace(/^[0-9a-f]{64}$/, "image")}`);
}

async function openFilesOf(pid: number): Promise<readonly string[]> {
  const fds = await readdir(`/proc/${pid}/fd`);
  return Promise.all(fds.map(async (fd) => readlink(`/proc/${pid}/fd/${fd}`).catch(() => "")));
}
