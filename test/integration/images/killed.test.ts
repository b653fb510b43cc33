// kill -9 in the middle of a download: the next pull fetches what was missing, and at most one window more.

import { type ChildProcess, spawn } from "node:child_process";
import { createHash, randomFillSync } from "node:crypto";
import { once } from "node:events";
import { chmod, mkdtemp, readdir, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect, test } from "vitest";
import { RangeServer } from "../../fakes/range-server.ts";
import { WebServer } from "../../fakes/web-server.ts";

const MIB = 1024 * 1024;
const WINDOW_BYTES = 32 * MIB;
const LENGTH = 160 * MIB;
const bytes = randomFillSync(Buffer.alloc(LENGTH));
bytes.set([0x55, 0xaa], 510);
const digest = `sha256:${createHash("sha256").update(bytes).digest("hex")}`;

const points = [
  { percent: 1, speed: "as fast as it can" },
  { percent: 50, speed: "as fast as it can" },
  { percent: 99, speed: "as fast as it can" },
  { percent: 50, speed: "slowly on each connection", bytesPerSecond: 40 * MIB },
  { percent: 99, speed: "slowly on each connection", bytesPerSecond: 40 * MIB },
];

test.each(points)("killed when the server, sending $speed, has sent $percent %", async ({ percent, ...speed }) => {
  await using undo = new AsyncDisposableStack();
  const rootPath = await mkdtemp(join(tmpdir(), "vmlet-killed-"));
  undo.defer(async () => rm(rootPath, { recursive: true, force: true }));
  await chmod(rootPath, 0o711);
  const server = undo.use(await WebServer.listen());
  const { bytesPerSecond } = speed;
  const file = RangeServer.on(server, "/disk", {
    bytes,
    headers: { etag: '"v1"' },
    ...(bytesPerSecond === undefined ? {} : { bytesPerSecond }),
  });
  const name = server.nameOf("/disk");

  const killed = pullIn(rootPath, name);
  undo.defer(() => void killed.kill("SIGKILL"));
  await expect.poll(() => file.sentBytes, { timeout: 60_000, interval: 5 }).toBeGreaterThan((LENGTH * percent) / 100);
  killed.kill("SIGKILL");
  await once(killed, "exit");
  const missingBytes = LENGTH - file.sentBytes;

  file.sentBytes = 0;
  const again = pullIn(rootPath, name);
  undo.defer(() => void again.kill("SIGKILL"));
  expect(await outputOf(again)).toBe(digest);
  expect(file.sentBytes).toBeLessThanOrEqual(Math.max(0, missingBytes) + WINDOW_BYTES);
  expect(await readdir(join(rootPath, "partial"))).toEqual([]);
});

const pullIn = (rootPath: string, name: string): ChildProcess =>
  spawn(process.execPath, [join(import.meta.dirname, "puller.ts"), rootPath, name], {
    stdio: ["ignore", "pipe", "inherit"],
  });

async function outputOf(child: ChildProcess): Promise<string> {
  const said: Buffer[] = [];
  child.stdout?.on("data", (chunk: Buffer) => said.push(chunk));
  await once(child, "close");
  return Buffer.concat(said).toString();
}
