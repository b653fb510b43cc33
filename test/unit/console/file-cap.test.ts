import { appendFile, mkdtemp, rm, stat, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect, test } from "vitest";
import { capFile } from "../../../src/console/file-cap.ts";

test("a file that grows beyond its cap is emptied, before and after it was first looked at, and a short one is left", async () => {
  const folder = await mkdtemp(join(tmpdir(), "vmlet-cap-"));
  try {
    const path = join(folder, "report");
    await writeFile(path, "x".repeat(2_000));
    using _cap = capFile(path, 1_000);
    const size = async (): Promise<number> => (await stat(path)).size;
    await expect.poll(size, { timeout: 10_000 }).toBe(0);
    await appendFile(path, "exit 3\n");
    await appendFile(path, "y".repeat(2_000));
    await expect.poll(size, { timeout: 10_000 }).toBe(0);
    await appendFile(path, "exit 0\n");
    expect(await size()).toBe(7);
  } finally {
    await rm(folder, { recursive: true });
  }
});
