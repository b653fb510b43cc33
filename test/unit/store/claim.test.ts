import { createHash } from "node:crypto";
import { mkdtemp, rm, stat, symlink } from "node:fs/promises";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, expect, test } from "vitest";
import { claimStateFolder } from "../../../src/store/claim.ts";

let folder = "";
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), "vmlet-claim-"));
});
afterEach(async () => await rm(folder, { recursive: true }));

test("a state folder has one daemon at a time, by whatever path it is called, and others are not in its way", async () => {
  await symlink(".", join(folder, "link"));
  {
    await using _first = await claimStateFolder(folder);
    for (const path of [folder, join(folder, "."), join(folder, "link")])
      await expect(claimStateFolder(path)).rejects.toMatchObject({
        failure: { code: "CONFIG_INVALID", field: "stateFolderPath" },
        message: expect.stringContaining("in use by another vmlet; stop that one first"),
      });
    await using _other = await claimStateFolder(join(folder, "other"));
  }
  await using _next = await claimStateFolder(folder);
});

test("a folder that is missing is made, and who is not root cannot open what is locked", async () => {
  const path = join(folder, "new", "state");
  await using _claim = await claimStateFolder(path);
  expect((await stat(path)).mode & 0o777).toBe(0o711);
  expect((await stat(join(path, "claim"))).mode & 0o777).toBe(0o600);
});

test("any user of the node may take an abstract socket's name, and keeps no daemon from starting", async () => {
  const name = `vmlet-${createHash("sha256").update(folder).digest("hex")}`;
  const stranger = createServer();
  const { promise, resolve } = Promise.withResolvers<void>();
  stranger.listen(`\0${name}`, resolve);
  await promise;
  await using _claim = await claimStateFolder(folder);
  stranger.close();
});
