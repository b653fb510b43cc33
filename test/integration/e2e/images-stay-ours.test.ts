// Who may write images: nobody. One copy serves every machine, whatever happens to them, and goes with the last.

import { createHash } from "node:crypto";
import { readdir, readFile, stat } from "node:fs/promises";
import { join } from "node:path";
import { afterAll, beforeAll, beforeEach, expect, test } from "vitest";
import { ImageSpec, ListImagesRequest } from "../../../src/gen/runtime.ts";
import { run } from "../../../src/lib/spawn.ts";
import { WebServer } from "../../fakes/web-server.ts";
import { output } from "../../node/command.ts";
import { startTestNode, type TestNode } from "../../node/test-node.ts";
import { refusalOf } from "./refusals.ts";
import { BOOT_LIMIT_MS, httpGet, VmPod, virsh } from "./vm-pod.ts";

const suite = AbortSignal.timeout(900_000);
const TEST_LIMIT_MS = 3 * BOOT_LIMIT_MS;
let node: TestNode;
let server: WebServer;
let image = "";
let digest = "";
let one: VmPod;
let two: VmPod;

beforeAll(async () => {
  server = await WebServer.listen();
  image = server.nameOf("/tiny.qcow2");
  node = await startTestNode({ config: { images: { allowHttp: true, pinned: [image] } } }, suite);
  const bytes = await readFile(join(node.layout.imageFolderPath, "tiny.qcow2"));
  digest = createHash("sha256").update(bytes).digest("hex");
  server.serve("/tiny.qcow2", bytes);
});
afterAll(async () => {
  await node[Symbol.asyncDispose]();
  await server[Symbol.asyncDispose]();
});
beforeEach(async () => await node.revive(suite));

const blobsPath = (): string => join(node.layout.stateFolderPath, "images/blobs/sha256");
const spec = (): ImageSpec => ImageSpec.fromPartial({ image });

/** The only copy is root's, read-only, and has the bytes that were pulled. */
async function expectOurs(): Promise<void> {
  expect(await readdir(blobsPath())).toEqual([digest]);
  const { uid, gid, mode, nlink } = await stat(join(blobsPath(), digest));
  expect({ uid, gid, mode: (mode & 0o7777).toString(8), nlink }).toEqual({ uid: 0, gid: 0, mode: "444", nlink: 1 });
  const bytes = await readFile(join(blobsPath(), digest));
  expect(createHash("sha256").update(bytes).digest("hex")).toBe(digest);
}

test(
  "two pods that start at the same time share one download and one copy",
  async () => {
    [one, two] = await Promise.all([
      VmPod.start(node, { name: "one", image }, suite),
      VmPod.start(node, { name: "two", image }, suite),
    ]);
    await expectOurs();
    expect(server.requests).toEqual(["/tiny.qcow2"]);
    for (const pod of [one, two]) await pod.says("tiny: ready", suite);
    await expectOurs();
    const { dev, ino } = await stat(join(blobsPath(), digest));
    for (const pod of [one, two]) expect(await openFilesOf(await qemuPid(pod))).toContain(`${dev}:${ino}`);
  },
  TEST_LIMIT_MS,
);

test("what they take is told apart: one copy by the image, the machines' disks by the containers", async () => {
  const onDisk = async () => await bytesUnder(join(node.layout.stateFolderPath, "pods"));
  const before = await onDisk();
  const { imageFilesystems, containerFilesystems } = await node.cri.image.imageFsInfo({}, suite);
  const blob = await stat(join(blobsPath(), digest));
  expect(imageFilesystems).toMatchObject([
    { usedBytes: { value: BigInt(blob.blocks * 512) }, inodesUsed: { value: 1n } },
  ]);
  const told = Number(containerFilesystems[0]?.usedBytes?.value);
  const beside = 512 * 1024; // folders; and a second try hears what the first one heard
  expect(told).toBeGreaterThan(Math.max(0, before - beside));
  expect(told).toBeLessThan((await onDisk()) + beside);
});

test("an image whose name the configuration pins is told to be pinned", async () => {
  const { images } = await node.cri.image.listImages(ListImagesRequest.fromPartial({}), suite);
  expect(images.map(({ pinned }) => pinned)).toEqual([true]);
});

test("pull, status, list and both containers tell one id, which is that of the bytes", async () => {
  const pull = { image: spec(), auth: undefined, sandboxConfig: undefined };
  const { images } = await node.cri.image.listImages(ListImagesRequest.fromPartial({}), suite);
  const statuses = await Promise.all([one.status(suite), two.status(suite)]);
  const byId = { image: ImageSpec.fromPartial({ image: `sha256:${digest}` }), verbose: false };
  const ids = [
    (await node.cri.image.pullImage(pull, suite)).imageRef,
    (await node.cri.image.imageStatus({ image: spec(), verbose: false }, suite)).image?.id,
    (await node.cri.image.imageStatus(byId, suite)).image?.id,
    ...images.map(({ id }) => id),
    ...statuses.flatMap(({ imageId, imageRef }) => [imageId, imageRef]),
  ];
  expect(new Set(ids)).toEqual(new Set([`sha256:${digest}`]));
  expect(images).toHaveLength(1);
});

test("the user that QEMU runs as can read the image, and neither write, replace nor remove it, nor list the others", async () => {
  const path = join(blobsPath(), digest);
  const pid = await qemuPid(one);
  const owner = /^Uid:\s+(\d+)\s+(\d+)/m.exec(await readFile(`/proc/${pid}/status`, "utf8"));
  expect(Number(owner?.[2])).toBeGreaterThan(0);
  const asQemu = async (...argv: string[]): Promise<{ exitCode: number | null; stderr: string }> =>
    await run(
      "/usr/bin/setpriv",
      ["--reuid", owner?.[2] ?? "", "--init-groups", "--regid", "kvm", "--", ...argv],
      {},
      suite,
    );
  expect((await asQemu("head", "-c", "4", path)).exitCode).toBe(0);
  const attempts = [
    ["dd", "if=/dev/zero", `of=${path}`, "bs=512", "count=1", "conv=notrunc"],
    ["truncate", "-s", "0", path],
    ["chmod", "u+w", path],
    ["rm", "-f", path],
    ["mv", path, `${path}.old`],
    ["ln", path, "/var/tmp/vmlet-hard-link"], // on the same file system: /tmp may be another
    ["touch", join(blobsPath(), "new")],
    ["qemu-io", "-f", "qcow2", "-c", "write 0 512", path],
    ["ls", blobsPath()],
    ["ls", join(node.layout.stateFolderPath, "images/names")],
    ["ls", join(node.layout.stateFolderPath, "pods")],
    ["cat", join(node.layout.stateFolderPath, "pods", one.podId, "pod.json")],
    ["cat", join(node.layout.stateFolderPath, "pods", one.podId, "machines", one.containerId, "machine.json")],
  ];
  for (const argv of attempts) {
    const { exitCode, stderr } = await asQemu(...argv);
    expect(exitCode, argv.join(" ")).not.toBe(0);
    expect(stderr, argv.join(" ")).toMatch(/denied|not permitted|read-only/i);
  }
  await expectOurs();
});

test("every other user of the machine sees nothing of it: no image, record, seed, socket or console", async () => {
  const asNobody = async (...argv: string[]): Promise<number | null> =>
    (
      await run(
        "/usr/bin/setpriv",
        ["--reuid", "nobody", "--regid", "nogroup", "--clear-groups", "--", ...argv],
        {},
        suite,
      )
    ).exitCode;
  const machinePath = join(node.layout.stateFolderPath, "pods", one.podId, "machines", one.containerId);
  for (const name of await readdir(machinePath)) {
    expect(await asNobody("cat", join(machinePath, name)), name).not.toBe(0);
  }
  expect(await asNobody("head", "-c", "4", join(blobsPath(), digest)), "the image").not.toBe(0);
  for (const folder of ["pods", "images", "images/blobs/sha256", "images/names", "images/holds", "cni"]) {
    expect(await asNobody("ls", join(node.layout.stateFolderPath, folder)), folder).not.toBe(0);
  }
  const sockets = [
    node.layout.socketPath,
    join(node.layout.runFolderPath, "vnc", `${one.containerId.slice(0, 12)}.sock`),
  ];
  for (const path of sockets) {
    expect((await stat(path)).isSocket(), path).toBe(true);
    const connect = "import socket, sys; socket.socket(socket.AF_UNIX).connect(sys.argv[1])";
    expect(await asNobody("python3", "-c", connect, path), path).not.toBe(0);
  }
});

test(
  "a VM that is destroyed, and one that is stopped, leave the image as it was",
  async () => {
    await virsh(["destroy", await one.domain(suite)], suite);
    expect(await one.exited(suite)).toMatchObject({ exitCode: 137 });
    await expectOurs();
    await one.remove(suite);
    await expectOurs();
  },
  TEST_LIMIT_MS,
);

test(
  "an image that is removed while a VM runs from it loses its name at once and its bytes with the last machine",
  async () => {
    const created = await VmPod.create(node, { name: "late", image }, suite);
    await node.cri.image.removeImage({ image: spec() }, suite);
    expect((await node.cri.image.imageStatus({ image: spec(), verbose: false }, suite)).image).toBeUndefined();
    expect((await node.cri.image.listImages(ListImagesRequest.fromPartial({}), suite)).images).toEqual([]);
    await expectOurs();
    expect(await httpGet(`http://${await two.ip(suite)}/`, suite)).toContain("two");

    await node.kill(suite); // what a machine needs is known after a crash, too
    await node.start(suite);
    await created.start(suite);
    expect((await created.status(suite)).imageId).toBe(`sha256:${digest}`);
    await created.remove(suite);
    await expectOurs();

    const again = { ...two.containerConfig, metadata: { name: "vm", attempt: 1 } };
    await two.stop(60, suite);
    expect((await refusalOf(two.createContainer(again, suite))).details).toMatch(/is not on this node; pull it first/);
    await expectOurs();
    await two.remove(suite);
    expect(await readdir(blobsPath())).toEqual([]);
    expect(await node.leftovers(suite)).toEqual([]);
  },
  TEST_LIMIT_MS,
);

async function qemuPid(pod: VmPod): Promise<number> {
  for (const pid of (await readdir("/proc")).filter((name) => /^\d+$/.test(name))) {
    const line = await readFile(`/proc/${pid}/cmdline`, "utf8").catch(() => "");
    if (/^\S*qemu-system/.test(line) && line.includes(pod.containerId)) return Number(pid);
  }
  throw new Error("no QEMU of that pod");
}

/** As `device:inode`. */
async function openFilesOf(pid: number): Promise<readonly string[]> {
  const folder = `/proc/${pid}/fd`;
  const found = await Promise.all(
    (await readdir(folder)).map(async (fd) => stat(join(folder, fd)).catch(() => undefined)),
  );
  return found.flatMap((file) => (file === undefined ? [] : [`${file.dev}:${file.ino}`]));
}

/** On disk, as du counts. */
async function bytesUnder(path: string): Promise<number> {
  const [bytes = ""] = (await output(["/usr/bin/du", "--block-size=1", "--summarize", path], suite)).split("\t");
  return Number(bytes);
}
