// Overlays by the real qemu-img.

import { mkdir, mkdtemp, readdir, rm, stat, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import { qemuImgDisks } from "../../../src/images/overlay.ts";
import { run } from "../../../src/lib/spawn.ts";
import type { DiskFormat } from "../../../src/model/image.ts";
import { qcow2, raw } from "../../fakes/disk-image.ts";
import { mountSmallDisk } from "../../fakes/small-disk.ts";

const signal = AbortSignal.timeout(60_000);
const MIB = 1024 * 1024;
const disks = qemuImgDisks({ run });
let folder = "";

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), "vmlet-overlay-"));
});
afterAll(async () => rm(folder, { recursive: true, force: true }));

async function infoOf(path: string): Promise<Record<string, unknown>> {
  const done = await run("qemu-img", ["info", "--output=json", "-f", "qcow2", path], {}, signal);
  return JSON.parse(done.stdout.toString("utf8")) as Record<string, unknown>;
}

async function makeBase(name: string, format: DiskFormat) {
  const path = join(folder, name);
  await writeFile(path, format === "raw" ? raw(4096) : qcow2({ virtualSizeBytes: BigInt(2 * MIB) }), { mode: 0o444 });
  return { path, format, virtualSizeBytes: 2 * MIB };
}

test.each<DiskFormat>(["raw", "qcow2"])(
  "an overlay on %s names its base and the base's format, and is private",
  async (format) => {
    const base = await makeBase(`base-${format}`, format);
    const path = join(folder, `overlay-${format}`);
    await disks.createOverlay({ path, base, virtualSizeBytes: 5 * MIB }, signal);
    expect(await infoOf(path)).toMatchObject({
      format: "qcow2",
      "virtual-size": 5 * MIB,
      "full-backing-filename": base.path,
      "backing-filename-format": format,
    });
    expect((await stat(path)).mode & 0o777).toBe(0o600);
  },
);

test("an overlay is never smaller than its base", async () => {
  const base = await makeBase("base-large", "qcow2");
  const path = join(folder, "overlay-small");
  await disks.createOverlay({ path, base, virtualSizeBytes: MIB }, signal);
  expect(await infoOf(path)).toMatchObject({ "virtual-size": 2 * MIB });
});

test("a half-made file in its place is replaced, and nothing else is left", async () => {
  const base = await makeBase("base-again", "qcow2");
  const own = join(folder, "again");
  await mkdir(own);
  const path = join(own, "disk");
  await writeFile(path, "half");
  await writeFile(`${path}.new`, "half");
  await disks.createOverlay({ path, base, virtualSizeBytes: 2 * MIB }, signal);
  expect(await infoOf(path)).toMatchObject({ format: "qcow2" });
  expect(await readdir(own)).toEqual(["disk"]);
});

test.each(["a,b=c", "json:{}", "nbd:host:1", "-o", "with space", "{}"])(
  "a file called %s is only a file",
  async (name) => {
    const base = await makeBase(`base ${name}`, "raw");
    const path = join(folder, name);
    await disks.createOverlay({ path, base, virtualSizeBytes: 2 * MIB }, signal);
    expect(await infoOf(path)).toMatchObject({ "full-backing-filename": base.path });
  },
);

test("a folder that is not there is a failed tool with its message", async () => {
  const base = await makeBase("base-lost", "raw");
  const path = join(folder, "no/such/folder/overlay");
  await expect(disks.createOverlay({ path, base, virtualSizeBytes: MIB }, signal)).rejects.toMatchObject({
    failure: { code: "TOOL_FAILED", tool: "qemu-img", exitCode: 1 },
  });
});

test("an aborted call leaves nothing", async () => {
  const base = await makeBase("base-aborted", "raw");
  const own = join(folder, "aborted");
  await mkdir(own);
  const reason = new Error("caller went away");
  const creating = disks.createOverlay(
    { path: join(own, "disk"), base, virtualSizeBytes: MIB },
    AbortSignal.abort(reason),
  );
  await expect(creating).rejects.toBe(reason);
  expect(await readdir(own)).toEqual([]);
});

test("a full disk is told as such, and nothing is left on it", async () => {
  const base = await makeBase("base-full", "qcow2");
  await using disk = await mountSmallDisk(MIB);
  await writeFile(join(disk.path, "filler"), Buffer.alloc(MIB - 16_384));
  const path = join(disk.path, "overlay");
  await expect(disks.createOverlay({ path, base, virtualSizeBytes: 2 * MIB }, signal)).rejects.toMatchObject({
    failure: { code: "DISK_FULL", path: disk.path, freeBytes: expect.any(Number) },
  });
  expect(await readdir(disk.path)).toEqual(["filler"]);
});

test("a base that is not there is named", async () => {
  const base = { path: join(folder, "none"), format: "raw", virtualSizeBytes: MIB } as const;
  const path = join(folder, "overlay-none");
  await expect(disks.createOverlay({ path, base, virtualSizeBytes: MIB }, signal)).rejects.toMatchObject({
    failure: { code: "TOOL_FAILED", tool: "qemu-img", exitCode: null },
    message: expect.stringContaining(`the base ${base.path} cannot be read`),
  });
});
