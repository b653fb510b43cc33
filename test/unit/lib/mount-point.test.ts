import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect, test } from "vitest";
import { mountPointOf } from "../../../src/lib/mount-point.ts";

test("a folder's mount point is one of its parents, and another filesystem's is its own", async () => {
  const folder = await mkdtemp(join(tmpdir(), "vmlet-mount-"));
  try {
    const mountPoint = await mountPointOf(folder);
    expect(`${folder}/`.startsWith(mountPoint)).toBe(true);
    expect(mountPoint).not.toBe(folder);
    expect(await mountPointOf(tmpdir())).toBe(mountPoint);
    expect(await mountPointOf("/proc/self")).toBe("/proc");
  } finally {
    await rm(folder, { recursive: true });
  }
});
