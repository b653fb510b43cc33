// A volume whose file system answers nobody, for its server is gone: here a FUSE without a process behind it.

import { spawnSync } from "node:child_process";
import { closeSync, existsSync, openSync } from "node:fs";
import { mkdtemp, rmdir, stat } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { createHostFiles } from "../../../src/kernel/host-files.ts";
import { run } from "../../../src/lib/spawn.ts";

const DEVICE_PATH = "/dev/fuse";
const why = existsSync(DEVICE_PATH) ? "" : ` (skipped: there is no ${DEVICE_PATH})`;

describe.skipIf(why !== "")(`volumes that answer nobody${why}`, () => {
  const signal = AbortSignal.timeout(30_000);
  let folder = "";
  let fuse = -1;
  beforeAll(async () => {
    folder = await mkdtemp(join(tmpdir(), "vmlet-hangs-"));
    fuse = openSync(DEVICE_PATH, "r+");
    const options = "fd=3,rootmode=40000,user_id=0,group_id=0";
    const { status } = spawnSync("/usr/bin/mount", ["-i", "-t", "fuse", "-o", options, "hangs", folder], {
      stdio: ["ignore", "inherit", "inherit", fuse],
    });
    expect(status).toBe(0);
  });
  afterAll(async () => {
    closeSync(fuse); // whoever waits for it is told so
    spawnSync("/usr/bin/umount", ["--lazy", folder]);
    await rmdir(folder);
  });

  test("ten of them are left out, each in its time, and cost no thread that reads files", async () => {
    const files = createHostFiles({ run }, { limitMs: 200 });
    const mounts = Array.from({ length: 10 }, (_, number) => ({
      hostPath: join(folder, String(number)),
      containerPath: `/data/${number}`,
      isReadOnly: true,
    }));
    const carried = await Promise.all(mounts.map(async (mount) => await files.carry(mount, signal)));
    expect(carried.map(({ is }) => is)).toEqual(mounts.map(() => "left-out"));
    expect(carried[0]).toMatchObject({ why: `${folder}/0 did not answer in 200 ms` });
    expect((await stat("/")).isDirectory()).toBe(true);
  });

  test("who gives up is not held by it", async () => {
    const files = createHostFiles({ run });
    const mount = { hostPath: folder, containerPath: "/data", isReadOnly: true };
    const soon = new DOMException("enough", "AbortError");
    const controller = new AbortController();
    const carrying = files.carry(mount, controller.signal);
    controller.abort(soon);
    await expect(carrying).rejects.toBe(soon);
  });
});
