import { spawn } from "node:child_process";
import { once } from "node:events";
import { appendFile, mkdir, mkdtemp, open, readdir, readFile, rename, rm, stat, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect, test } from "vitest";
import { createConsoleLogs } from "../../../src/console/adapter.ts";
import type { ConsoleOptions } from "../../../src/console/options.ts";
import { run } from "../../../src/lib/spawn.ts";
import { newMachineId } from "../../../src/model/ids.ts";
import type { ConsoleLogRequest } from "../../../src/ports/console-log.ts";
import type { Logger } from "../../../src/ports/logger.ts";
import { contentOf, linesOf } from "../../unit/console/cri-log.ts";

const never = new AbortController().signal;
const quiet: Logger = { error() {}, warn() {}, info() {}, debug() {}, child: () => quiet };
const clock = { nowMs: () => Date.now() };

async function files(): Promise<ConsoleLogRequest & { readonly folder: string } & AsyncDisposable> {
  const folder = await mkdtemp(join(tmpdir(), "vmlet-console-"));
  await mkdir(join(folder, "pod"));
  const consoleFilePath = join(folder, "console.log");
  await writeFile(consoleFilePath, "");
  return {
    folder,
    machineId: newMachineId(),
    consoleFilePath,
    positionPath: join(folder, "console-position.json"),
    initReportPath: join(folder, "init-report"),
    logPath: join(folder, "pod", "0.log"),
    logFolderPath: join(folder, "pod"),
    [Symbol.asyncDispose]: async () => rm(folder, { recursive: true, force: true }),
  };
}

/** All of the log, its rotated pieces first. */
async function wholeLog(logPath: string): Promise<Buffer> {
  const folder = join(logPath, "..");
  const names = (await readdir(folder)).sort((a, b) => (b === "0.log" ? -1 : a === "0.log" ? 1 : a < b ? -1 : 1));
  return Buffer.concat(await Promise.all(names.map(async (name) => readFile(join(folder, name)))));
}

test("a daemon killed again and again under a flood loses and repeats not a byte, rotation included", async () => {
  await using request = await files();
  const options: Partial<ConsoleOptions> = {
    punchBatchBytes: 1 << 16,
    replayBytes: 0,
    idleFlushMs: 1,
    activePollMs: 1,
  };
  let printed = "";
  let isPrinting = true;
  const guest = (async () => {
    await using file = await open(request.consoleFilePath, "a");
    for (let n = 0; isPrinting; n += 1) {
      const text = n % 7 === 0 ? `${n} no end ` : `${n} ${"#".repeat((n * 37) % 300)}\r\n`;
      printed += text;
      await file.write(text);
    }
  })();
  for (let round = 0; round < 12; round += 1) {
    const child = spawn(
      process.execPath,
      [join(import.meta.dirname, "follower.ts"), JSON.stringify(request), JSON.stringify(options)],
      { stdio: ["ignore", "pipe", "inherit"] },
    );
    await once(child.stdout, "data");
    await new Promise((resolve) => setTimeout(resolve, Math.random() * 150)); // the moment of death is the test's input
    const exited = once(child, "exit");
    child.kill("SIGKILL");
    await exited;
    if (round % 4 === 3) await rename(request.logPath, `${request.logPath}.${round + 10}`);
  }
  isPrinting = false;
  await guest;
  const last = createConsoleLogs(options, { clock, log: quiet });
  await last.follow(request, never);
  await last.finish(request.machineId, never);
  const content = contentOf(await wholeLog(request.logPath));
  expect(content.length).toBeGreaterThan(100_000);
  expect(content === printed.replaceAll("\r\n", "\n")).toBe(true);
  expect((await stat(request.consoleFilePath)).blocks * 512).toBeLessThan(1 << 18);
});

test("a full disk under the log ends no tail, tears no line, and loses nothing once there is room again", async () => {
  await using request = await files();
  const podFolder = join(request.folder, "pod");
  await mounted(podFolder, "256k", async () => {
    // A piece is written whole or not at all: here smaller than the room that is left, so that the disk fills midway.
    const logs = createConsoleLogs({ activePollMs: 5, readBytes: 64 << 10 }, { clock, log: quiet });
    await using _logs = logs;
    await logs.follow(request, never);
    await writeFile(join(podFolder, "ballast"), Buffer.alloc(160 << 10));
    const text = `${"z".repeat(200)}\n`.repeat(700);
    await appendFile(request.consoleFilePath, text);
    await expect.poll(async () => (await stat(request.logPath)).size).toBeGreaterThan(0);
    const before = linesOf(await readFile(request.logPath));
    expect(before.length).toBeLessThan(700);
    await rm(join(podFolder, "ballast"));
    await logs.finish(request.machineId, never);
    expect(contentOf(await readFile(request.logPath))).toBe(text);
  });
});

async function mounted(path: string, size: string, work: () => Promise<void>): Promise<void> {
  const mount = await run("/usr/bin/mount", ["-t", "tmpfs", "-o", `size=${size}`, "tmpfs", path], {}, never);
  expect(mount).toMatchObject({ exitCode: 0 });
  try {
    await work();
  } finally {
    await run("/usr/bin/umount", ["--lazy", path], {}, never);
  }
}
