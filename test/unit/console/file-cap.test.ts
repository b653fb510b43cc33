import { spawn } from "node:child_process";
import { appendFile, mkdtemp, rm, stat, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as pause } from "node:timers/promises";
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

test("a guest that writes byte by byte without end costs a look now and then, not one for each byte", async () => {
  const folder = await mkdtemp(join(tmpdir(), "vmlet-cap-"));
  const path = join(folder, "report");
  await writeFile(path, "");
  const writer = spawn("/bin/sh", ["-c", 'while :; do printf x; done >>"$1"', "sh", path], { stdio: "ignore" });
  try {
    using _cap = capFile(path, 1_000);
    await expect.poll(async () => (await stat(path)).size, { timeout: 10_000 }).toBeGreaterThan(0);
    const before = process.cpuUsage();
    await pause(1_000);
    const { user, system } = process.cpuUsage(before);
    expect(user + system).toBeLessThan(100_000);
    expect((await stat(path)).size).toBeLessThan(1 << 20);
  } finally {
    writer.kill("SIGKILL");
    await rm(folder, { recursive: true });
  }
});
