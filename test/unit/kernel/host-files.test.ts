// What of the node's files a guest gets a copy of, and what it must never get.

import { mkdir, mkdtemp, rename, rm, symlink, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, expect, test } from "vitest";
import { createHostFiles } from "../../../src/kernel/host-files.ts";
import { run } from "../../../src/lib/spawn.ts";
import type { CarriedMount } from "../../../src/ports/host-files.ts";

const signal = AbortSignal.timeout(60_000);
let folder = "";
let secret = "";

beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), "vmlet-mounts-"));
  secret = join(folder, "secret");
  await writeFile(secret, "SECRET");
});
afterEach(async () => await rm(folder, { recursive: true }));

const carry = async (hostPath: string, containerPath: string): Promise<CarriedMount> =>
  await createHostFiles({ run }).carry({ hostPath, containerPath, isReadOnly: true }, signal);
const guestPathsOf = (mount: CarriedMount): readonly string[] =>
  mount.is === "carried" ? mount.files.map(({ guestPath }) => guestPath) : [];

test.each([
  ["/data/file/", "/data/file"],
  ["//data/./file", "/data/file"],
  ["/data/x/../file", "/data/file"],
])("a mount at %s is one at %s", async (containerPath, guestPath) => {
  expect(guestPathsOf(await carry(secret, containerPath))).toEqual([guestPath]);
});

test.each(["/proc/x", "/./proc/x", "/data/../sys/x", "//dev/termination-log", "/", "/data/..", "relative"])(
  "a mount at %s is left out, with a reason",
  async (containerPath) => {
    expect(await carry(secret, containerPath)).toEqual({ is: "left-out", why: expect.stringMatching(/./) });
  },
);

test("a folder's file that becomes a link to somewhere else while it is read gives nothing away", async () => {
  const shared = join(folder, "shared");
  await mkdir(shared);
  await writeFile(join(shared, "file"), "mine");
  let isOver = false;
  const swap = async (): Promise<void> => {
    for (let turn = 0; !isOver; turn++) {
      const next = join(folder, "next");
      if (turn % 2 === 0) await symlink(secret, next);
      else await writeFile(next, "mine");
      await rename(next, join(shared, "file"));
    }
  };
  const swapping = swap();
  const seen = new Set<string>();
  for (let turn = 0; turn < 1500; turn++) {
    const mount = await carry(shared, "/data");
    seen.add(mount.is === "carried" ? String(mount.files[0]?.content) : mount.is);
  }
  isOver = true;
  await swapping;
  expect([...seen]).not.toContain("SECRET");
  expect([...seen]).toContain("mine");
});

test("a folder with files without end is left out, and not listed to its end", async () => {
  const shared = join(folder, "shared");
  await mkdir(shared);
  for (let index = 0; index < 100; index++) await writeFile(join(shared, `${index}`), "");
  expect(await carry(shared, "/data")).toEqual({
    is: "left-out",
    why: "it has more than 64 entries, and no more are copied",
  });
});
