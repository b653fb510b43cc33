import { readdir, rm, stat, truncate, writeFile } from "node:fs/promises";
import { dirname, join } from "node:path";
import { expect, test } from "vitest";
import { freeBytesOf, SpaceLedger } from "../../../src/images/disk-space.ts";
import { newMachineId } from "../../../src/model/ids.ts";
import { imageStoreContract } from "../../contract/image-store.contract.ts";
import { qcow2 } from "../../fakes/disk-image.ts";
import { agreeingQemuImg, openDiskStore } from "../../fakes/disk-image-store.ts";
import { WebServer } from "../../fakes/web-server.ts";

const signal = AbortSignal.timeout(60_000);
const MIB = 1024 * 1024;
const open = async (images: Readonly<Record<string, unknown>> = {}) =>
  openDiskStore({ images, run: agreeingQemuImg(64 * MIB) });

imageStoreContract(async () => {
  const fixture = await open();
  return {
    get store() {
      return fixture.store;
    },
    publish: async (path, content) => {
      fixture.server.serve(`/${path}`, qcow2({ content }));
      return fixture.server.nameOf(`/${path}`);
    },
    publishHeldBack: async (path, content) => ({
      name: fixture.server.nameOf(`/${path}`),
      ...fixture.server.serveHeldBack(`/${path}`, qcow2({ content })),
    }),
    absentName: fixture.server.nameOf("/absent.qcow2"),
    hasBytes: async (digest) => fixture.hasBytes(digest),
    reopen: async () => fixture.reopen(),
    [Symbol.asyncDispose]: async () => fixture[Symbol.asyncDispose](),
  };
});

test("nothing at the URL leaves nothing behind", async () => {
  await using under = await open();
  const before = await under.files();
  await expect(under.store.pull(under.server.nameOf("/none.qcow2"), signal)).rejects.toThrow(
    `${under.server.urlOf("/none.qcow2")} answers 404`,
  );
  expect(await under.files()).toEqual(before);
});

test("a redirect is followed, and the name stays that of the pod", async () => {
  await using under = await open();
  under.server.on("/image", (_request, response) => {
    response.writeHead(307, { location: `${under.server.urlOf("/real")}?signature=secret` });
    response.end();
  });
  under.server.serve("/real", qcow2());
  const image = await under.store.pull(under.server.nameOf("/image"), signal);
  expect(image.repoTags).toEqual([`${under.server.nameOf("/image")}:latest`]);
});

test("pulls of one image at the same time are one download", async () => {
  await using under = await open();
  under.server.serve("/image", qcow2());
  const name = under.server.nameOf("/image");
  const images = await Promise.all([1, 2, 3, 4, 5].map(async () => under.store.pull(name, signal)));
  expect(new Set(images.map(({ digest }) => digest)).size).toBe(1);
  expect(under.server.requests).toEqual(["/image"]);
});

test("one of two waiters may leave; when both have left the download ends and its file is gone", async () => {
  await using under = await open();
  const before = await under.files();
  const [first, second] = [new AbortController(), new AbortController()];
  const { promise: asked, resolve } = Promise.withResolvers<void>();
  const { promise: closed, resolve: close } = Promise.withResolvers<void>();
  under.server.on("/image", (request, response) => {
    response.writeHead(200, { "content-length": "1000000" });
    response.write(qcow2().subarray(0, 1000));
    request.socket.once("close", () => close());
    resolve();
  });
  const name = under.server.nameOf("/image");
  const pulls = [under.store.pull(name, first.signal), under.store.pull(name, second.signal)];
  const outcomes = Promise.allSettled(pulls);
  await asked;
  first.abort(new Error("first left"));
  await expect(pulls[0]).rejects.toThrow("first left");
  second.abort(new Error("second left"));
  expect(await outcomes).toMatchObject([{ status: "rejected" }, { reason: { message: "second left" } }]);
  await closed;
  expect(await under.files()).toEqual(before);
  expect(under.server.requests).toEqual(["/image"]);
});

test("closing the store ends its downloads", async () => {
  await using under = await open();
  const { promise: asked, resolve } = Promise.withResolvers<void>();
  under.server.on("/image", () => resolve());
  const pulling = under.store.pull(under.server.nameOf("/image"), signal);
  const outcome = expect(pulling).rejects.toThrow("closing");
  await asked;
  await under.store[Symbol.asyncDispose]();
  await outcome;
});

test("a server that says nothing changed saves the download, until the image was removed", async () => {
  await using under = await open();
  const bytes = qcow2();
  const statuses: number[] = [];
  under.server.on("/image", (request, response) => {
    const isSame = request.headers["if-none-match"] === '"v1"';
    statuses.push(isSame ? 304 : 200);
    response.writeHead(isSame ? 304 : 200, { etag: '"v1"', "content-length": isSame ? 0 : bytes.length });
    response.end(isSame ? undefined : bytes);
  });
  const name = under.server.nameOf("/image");
  const image = await under.store.pull(name, signal);
  expect(await under.store.pull(name, signal)).toEqual(image);
  await under.reopen();
  expect(await under.store.pull(name, signal)).toEqual(image);
  await under.store.remove(name, signal);
  expect(await under.store.pull(name, signal)).toEqual({ ...image, pulledAtMs: expect.any(Number) });
  expect(statuses).toEqual([200, 304, 304, 200]);
});

test("bytes that are pinned and here already are not downloaded again", async () => {
  await using under = await open();
  under.server.serve("/image", qcow2());
  const { digest } = await under.store.pull(under.server.nameOf("/image"), signal);
  const pinned = `${under.server.nameOf("/elsewhere")}@${digest}`;
  expect((await under.store.pull(pinned, signal)).repoDigests).toContain(pinned);
  expect(under.server.requests).toEqual(["/image"]);
});

test("what the server says to be unchanged is not taken for what a pin names", async () => {
  await using server = await WebServer.listen();
  server.on("/image", (request, response) => {
    const isSame = request.headers["if-none-match"] === '"v1"';
    response.writeHead(isSame ? 304 : 200, { etag: '"v1"' }).end(isSame ? undefined : qcow2());
  });
  const translations = [{ name: "ruled", url: server.urlOf("/image"), sha256: "e".repeat(64) }];
  await using under = await openDiskStore({ server, run: agreeingQemuImg(64 * MIB), images: { translations } });
  const { digest } = await under.store.pull(server.nameOf("/image"), signal);
  for (const name of [`${server.nameOf("/image")}@sha256:${"f".repeat(64)}`, "ruled"]) {
    const failure = { code: "IMAGE_DIGEST_MISMATCH", found: digest };
    await expect(under.store.pull(name, signal)).rejects.toMatchObject({ failure });
    expect(under.store.find(name)).toBeUndefined();
  }
});

test("progress is told at the end at least, with the bytes and their total", async () => {
  await using under = await open();
  const bytes = qcow2();
  under.server.serve("/image", bytes);
  await under.store.pull(under.server.nameOf("/image"), signal);
  const totals = { receivedBytes: bytes.length, totalBytes: bytes.length };
  expect(under.progress.at(-1)).toMatchObject({ ...totals, isDone: true });
});

test("a pinned name makes its image pinned", async () => {
  await using server = await WebServer.listen();
  const name = server.nameOf("/image");
  await using under = await openDiskStore({ server, run: agreeingQemuImg(64 * MIB), images: { pinned: [name] } });
  server.serve("/image", qcow2());
  expect((await under.store.pull(name, signal)).isPinned).toBe(true);
});

test("blobs are read-only to all, and nobody may list the folders on the way to them", async () => {
  await using under = await open();
  under.server.serve("/image", qcow2());
  const { digest } = await under.store.pull(under.server.nameOf("/image"), signal);
  const { path } = await under.store.hold(digest, newMachineId(), signal);
  expect((await stat(path)).mode & 0o777).toBe(0o444);
  expect((await stat(dirname(path))).mode & 0o777).toBe(0o711);
  expect((await stat(join(under.rootPath, "holds"))).mode & 0o777).toBe(0o700);
});

test("only QEMU passes through to the blobs, where its group is known", async () => {
  const gid = process.getgid?.() ?? 0;
  await using under = await openDiskStore({ run: agreeingQemuImg(64 * MIB), qemuGid: gid });
  const found = await stat(under.rootPath);
  expect([found.mode & 0o777, found.gid]).toEqual([0o710, gid]);
});

test("a start removes cut downloads and bytes without a name, and nothing that a name means", async () => {
  await using under = await open();
  under.server.serve("/image", qcow2());
  const image = await under.store.pull(under.server.nameOf("/image"), signal);
  const before = await under.files();
  await writeFile(join(under.rootPath, "partial/dead.part"), "half");
  await writeFile(join(under.rootPath, "names/x.json.abc.tmp"), "half");
  await writeFile(join(under.rootPath, "blobs/sha256", "0".repeat(64)), "orphan");
  await under.reopen();
  expect(await under.files()).toEqual(before);
  expect(under.store.list()).toEqual([image]);
});

test.each([
  ["not JSON", "{"],
  ["of a later version", JSON.stringify({ v: 2 })],
  ["larger than any record", " ".repeat(100_000)],
])("a name record that is %s costs its name, is reported, and no bytes are deleted", async (_, text) => {
  await using under = await open();
  under.server.serve("/image", qcow2());
  const name = under.server.nameOf("/image");
  const image = await under.store.pull(name, signal);
  const [file = ""] = await readdir(join(under.rootPath, "names"));
  await writeFile(join(under.rootPath, "names", file), text);
  await under.reopen();
  expect(under.store.list()).toEqual([]);
  expect(under.log.lines).toContainEqual(expect.objectContaining({ level: "error" }));
  expect(await under.hasBytes(image.digest)).toBe(true);
  expect(await under.store.pull(name, signal)).toEqual({ ...image, pulledAtMs: expect.any(Number) });
});

test("while a hold cannot be read nothing is deleted; releasing its machine ends that", async () => {
  await using under = await open();
  const machineId = newMachineId();
  under.server.serve("/image", qcow2());
  const name = under.server.nameOf("/image");
  const { digest } = await under.store.pull(name, signal);
  await under.store.hold(digest, machineId, signal);
  await writeFile(join(under.rootPath, "holds", `${machineId}.json`), "");
  await under.reopen();
  await under.store.remove(name, signal);
  expect(await under.hasBytes(digest)).toBe(true);
  await under.store.release(machineId, signal);
  await under.reopen();
  expect(await under.hasBytes(digest)).toBe(false);
});

test("a name whose bytes are gone or have another length is not shown", async () => {
  await using under = await open();
  under.server.serve("/image", qcow2());
  const { digest } = await under.store.pull(under.server.nameOf("/image"), signal);
  await truncate(join(under.rootPath, "blobs/sha256", digest.slice(7)), 100);
  await under.reopen();
  expect(under.store.list()).toEqual([]);
  expect(await under.store.pull(under.server.nameOf("/image"), signal)).toMatchObject({ digest });
});

test("bytes that somebody deleted under the running store come back with the next pull", async () => {
  await using under = await open();
  under.server.on("/image", (request, response) => {
    const isSame = request.headers["if-none-match"] === '"v1"';
    response.writeHead(isSame ? 304 : 200, { etag: '"v1"' });
    response.end(isSame ? undefined : qcow2());
  });
  const name = under.server.nameOf("/image");
  const { digest } = await under.store.pull(name, signal);
  for (const again of [name, `${name}@${digest}`]) {
    await rm(join(under.rootPath, "blobs/sha256", digest.slice(7)));
    await under.store.pull(again, signal);
    expect(await under.hasBytes(digest)).toBe(true);
  }
});

test("the same bytes pulled under several names at once are kept once and have all the names", async () => {
  await using under = await open();
  const names = ["/a", "/b", "/c"].map((path) => {
    under.server.serve(path, qcow2());
    return under.server.nameOf(path);
  });
  await Promise.all(names.map(async (name) => under.store.pull(name, signal)));
  expect(under.store.list()).toMatchObject([{ repoTags: names.map((name) => `${name}:latest`) }]);
  expect((await under.files()).filter((file) => file.startsWith("blobs/"))).toHaveLength(1);
});

test("downloads under way do not count on each other's space", async () => {
  await using under = await open();
  const ledger = new SpaceLedger(under.rootPath);
  const freeBytes = await freeBytesOf(under.rootPath);
  const most = Math.floor(freeBytes * 0.7);
  {
    using reservation = await ledger.reserve(most);
    await expect(ledger.reserve(most)).rejects.toMatchObject({ failure: { code: "DISK_FULL", neededBytes: most } });
    reservation.wrote(most);
    using _second = await ledger.reserve(Math.floor(freeBytes * 0.2));
  }
  using _third = await ledger.reserve(most);
});

test("many different images pulled at once are all kept", async () => {
  await using under = await open();
  const paths = Array.from({ length: 12 }, (_, index) => `/image-${index}`);
  for (const path of paths) under.server.serve(path, qcow2({ content: path }));
  const images = await Promise.all(paths.map(async (path) => under.store.pull(under.server.nameOf(path), signal)));
  for (const { digest } of images) expect(await under.hasBytes(digest)).toBe(true);
  expect(under.store.list()).toHaveLength(paths.length);
});
