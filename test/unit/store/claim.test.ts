import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect, test } from "vitest";
import { claimStateFolder } from "../../../src/store/claim.ts";

test("a state folder has one daemon at a time, by whatever path it is called, and others are not in its way", async () => {
  const folder = await mkdtemp(join(tmpdir(), "vmlet-claim-"));
  try {
    {
      await using _first = await claimStateFolder(folder);
      await expect(claimStateFolder(join(folder, "."))).rejects.toMatchObject({
        failure: { code: "CONFIG_INVALID", field: "stateFolderPath" },
      });
      await using _other = await claimStateFolder(`${folder}-other`);
    }
    await using _next = await claimStateFolder(folder);
  } finally {
    await rm(folder, { recursive: true });
  }
});
