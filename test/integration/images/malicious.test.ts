// A canary on the host, on a file system that notes each reading: careless use of qemu-img reads it through the malicious
// images, and a pull of them does not.

import { mkdtemp, readFile, rm, stat, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import { type Run, run } from "../../../src/lib/spawn.ts";
import { openDiskStore } from "../../fakes/disk-image-store.ts";
import { maliciousImages } from "../../fakes/malicious-images.ts";
import { reachingImages } from "../../fakes/reaching-images.ts";
import { mountSmallDisk, type SmallDisk } from "../../fakes/small-disk.ts";

const signal = AbortSignal.timeout(120_000);
const SECRET = "canary of 2ecf13b8 ";
let disk: SmallDisk;
let canaryPath = "";

beforeAll(async () => {
  disk = await mountSmallDisk(1024 ** 2, "strictatime");
  canaryPath = join(disk.path, "canary");
  await writeFile(canaryPath, SECRET.repeat(4000), { mode: 0o644 });
});
afterAll(async () => disk[Symbol.asyncDispose]());

const readAtNs = async (): Promise<bigint> => (await stat(canaryPath, { bigint: true })).atimeNs;

test("qemu-img, asked carelessly, copies the canary out of those that reach for it, and the canary shows that", async () => {
  const reaching = reachingImages(canaryPath).filter(({ isReaching }) => isReaching);
  expect(reaching.length).toBeGreaterThanOrEqual(14);
  // Not beside the canary: one of them takes its whole folder.
  await using undo = new AsyncDisposableStack();
  const folder = await mkdtemp(join(tmpdir(), "vmlet-careless-"));
  undo.defer(async () => rm(folder, { recursive: true, force: true }));
  const [imagePath, copyPath] = [join(folder, "image"), join(folder, "copy")];
  const untouched: string[] = [];
  for (const { what, bytes } of reaching) {
    await writeFile(imagePath, bytes);
    const before = await readAtNs();
    const done = await run("qemu-img", ["convert", "-O", "raw", imagePath, copyPath], {}, signal);
    expect(done.exitCode, `${what}: ${done.stderr}`).toBe(0);
    const isCopied = (await readFile(copyPath)).includes(SECRET.repeat(10));
    if (!isCopied || (await readAtNs()) === before) untouched.push(what);
  }
  expect(untouched).toEqual([]);
});

test("no pull of a malicious image runs a tool or reads the canary", async () => {
  const ran: string[] = [];
  const noting: Run = async (file, args, options, inner) => {
    ran.push([file, ...args].join(" "));
    return run(file, args, options, inner);
  };
  await using under = await openDiskStore({ run: noting });
  const before = await readAtNs();
  const images = maliciousImages(canaryPath);
  for (const [index, { what, bytes }] of images.entries()) {
    under.server.serve(`/${index}`, bytes);
    const pulling = under.store.pull(under.server.nameOf(`/${index}`), signal);
    await expect(pulling, what).rejects.toMatchObject({ failure: { code: "IMAGE_REFUSED" } });
  }
  expect(await readAtNs()).toBe(before);
  expect(ran).toEqual([]);
  console.log(`malicious: ${images.length} images refused, the canary unread`);
});
