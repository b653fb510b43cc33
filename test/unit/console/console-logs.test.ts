import { constants } from "node:fs";
import {
  appendFile,
  copyFile,
  link,
  mkdir,
  mkdtemp,
  open,
  readdir,
  readFile,
  rename,
  rm,
  stat,
  symlink,
  writeFile,
} from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import fc from "fast-check";
import { afterEach, expect, test, vi } from "vitest";
import { createConsoleLogs } from "../../../src/console/adapter.ts";
import { LogFile, reconcile } from "../../../src/console/log-file.ts";
import type { ConsoleOptions } from "../../../src/console/options.ts";
import { START } from "../../../src/console/position.ts";
import { run } from "../../../src/lib/spawn.ts";
import { failsWith } from "../../../src/model/failure.ts";
import { newMachineId } from "../../../src/model/ids.ts";
import type { ConsoleLogRequest } from "../../../src/ports/console-log.ts";
import type { Logger } from "../../../src/ports/logger.ts";
import { contentOf, linesOf } from "./cri-log.ts";

vi.setConfig({ testTimeout: 30_000 }); // the machine may be busy
const never = new AbortController().signal;
const FAST: Partial<ConsoleOptions> = { idleFlushMs: 30, activePollMs: 5, safetyPollMs: 60_000 };
const ended: (() => Promise<void>)[] = [];

afterEach(async () => {
  for (const end of ended.splice(0).reverse()) await end();
});

/** A machine's files, and daemons that come and go on them. */
async function machine(options: Partial<ConsoleOptions> = {}) {
  const folder = await mkdtemp(join(tmpdir(), "vmlet-console-"));
  ended.push(async () => rm(folder, { recursive: true, force: true }));
  const request: ConsoleLogRequest = {
    machineId: newMachineId(),
    consoleFilePath: join(folder, "console.log"),
    positionPath: join(folder, "console-position.json"),
    initReportPath: join(folder, "init-report"),
    logPath: join(folder, "pod", "vm", "0.log"),
    logFolderPath: join(folder, "pod"),
  };
  await writeFile(request.consoleFilePath, "");
  const notes: string[] = [];
  const note = (message: string): void => void notes.push(message);
  const log: Logger = { error: note, warn: note, info() {}, debug() {}, child: () => log };
  return {
    folder,
    request,
    notes,
    print: async (text: string | Buffer) => appendFile(request.consoleFilePath, text),
    logged: async () => readFile(request.logPath),
    daemon: async (more: Partial<ConsoleLogRequest> = {}) => {
      const logs = createConsoleLogs({ ...FAST, ...options }, { clock: { nowMs: () => Date.now() }, log });
      ended.push(async () => logs[Symbol.asyncDispose]());
      await logs.follow({ ...request, ...more }, never);
      return logs;
    },
  };
}

async function until(isTrue: () => Promise<boolean> | boolean): Promise<void> {
  for (const deadline = Date.now() + 20_000; !(await isTrue()); ) {
    if (Date.now() > deadline) throw new Error("did not become true within 20 s");
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
}

test("what the guest prints comes into the log while it runs, and the log exists from the start", async () => {
  const it = await machine();
  await it.daemon();
  expect(linesOf(await it.logged())).toEqual([]);
  expect((await stat(it.request.logPath)).mode & 0o777).toBe(0o640);
  await it.print("one\r\ntwo\r\n");
  await until(async () => contentOf(await it.logged()) === "one\ntwo\n");
  await new Promise((resolve) => setTimeout(resolve, 100)); // silent for long enough to be watched instead of polled
  await it.print("three\r\n");
  await until(async () => contentOf(await it.logged()) === "one\ntwo\nthree\n");
});

test("a login prompt is written without its end, and the line goes on in the next piece", async () => {
  const it = await machine();
  await it.daemon();
  await it.print("debian login: ");
  await until(async () => linesOf(await it.logged()).includes("P debian login: "));
  await it.print("root\r\n");
  await until(async () => linesOf(await it.logged()).includes("F root"));
  expect(contentOf(await it.logged())).toBe("debian login: root\n");
});

test("finish writes everything, the last unfinished line as P, and nothing after", async () => {
  const it = await machine();
  const logs = await it.daemon();
  const text = "line\r\n".repeat(50_000);
  await it.print(`${text}the end\r`);
  await logs.finish(it.request.machineId, never);
  await it.print("too late\r\n");
  await logs.finish(it.request.machineId, never);
  expect(contentOf(await it.logged())).toBe(`${text.replaceAll("\r", "")}the end\r`);
  await expect(logs.reopen(it.request.machineId, never)).rejects.toSatisfy((e) => failsWith(e, "MACHINE_NOT_FOUND"));
});

test("following twice follows once", async () => {
  const it = await machine();
  const logs = await it.daemon();
  await Promise.all([logs.follow(it.request, never), logs.follow(it.request, never)]);
  await it.print("once\n");
  await logs.finish(it.request.machineId, never);
  expect(linesOf(await it.logged())).toEqual(["F once"]);
});

test("what was printed while no daemon ran is in the log of the next", async () => {
  const it = await machine();
  const first = await it.daemon();
  await it.print("before\r\nunfinished ");
  await until(async () => contentOf(await it.logged()).startsWith("before\n"));
  await first[Symbol.asyncDispose]();
  await it.print("line\r\nbetween\r\n");
  const second = await it.daemon();
  await it.print("after\r\n");
  await second.finish(it.request.machineId, never);
  expect(contentOf(await it.logged())).toBe("before\nunfinished line\nbetween\nafter\n");
});

test("any bytes, with daemons ending anywhere, are in the log once and in order", async () => {
  const bytes = fc.array(fc.constantFrom(10, 13, 0x61, 0xff, 0), { maxLength: 400 });
  await fc.assert(
    fc.asyncProperty(fc.array(bytes, { minLength: 1, maxLength: 5 }), async (pieces) => {
      const it = await machine({ maxLineBytes: 16, readBytes: 64, idleFlushMs: 5, activePollMs: 1 });
      for (const [index, piece] of pieces.entries()) {
        const logs = await it.daemon();
        await it.print(Buffer.from(piece));
        if (index === pieces.length - 1) await logs.finish(it.request.machineId, never);
        await logs[Symbol.asyncDispose]();
      }
      const input = Buffer.from(pieces.flat()).toString("latin1");
      expect(contentOf(await it.logged())).toBe(input.replace(/\r\n/g, "\n"));
    }),
    { numRuns: 25 },
  );
});

test("a daemon that died between the log and the position repeats nothing", async () => {
  const it = await machine();
  const first = await it.daemon();
  await it.print("one\n");
  await until(async () => contentOf(await it.logged()) === "one\n");
  await copyFile(it.request.positionPath, join(it.folder, "older"));
  await it.print("two\nthr");
  await until(async () => contentOf(await it.logged()) === "one\ntwo\nthr");
  await first[Symbol.asyncDispose]();
  await appendFile(it.request.logPath, "2026-01-02T03:04:05.0670"); // and it died inside a line
  await rename(join(it.folder, "older"), it.request.positionPath);
  const second = await it.daemon();
  await it.print("ee\n");
  await second.finish(it.request.machineId, never);
  expect(contentOf(await it.logged())).toBe("one\ntwo\nthree\n");
});

test("the same when the log was rotated before the next daemon came", async () => {
  const it = await machine();
  const first = await it.daemon();
  await it.print("one\n");
  await until(async () => contentOf(await it.logged()) === "one\n");
  await copyFile(it.request.positionPath, join(it.folder, "older"));
  await it.print("two\n");
  await until(async () => contentOf(await it.logged()) === "one\ntwo\n");
  await first[Symbol.asyncDispose]();
  await rename(join(it.folder, "older"), it.request.positionPath);
  const rotatedPath = `${it.request.logPath}.20260102-030405`;
  await rename(it.request.logPath, rotatedPath);
  const second = await it.daemon();
  await second.finish(it.request.machineId, never);
  expect(contentOf(await readFile(rotatedPath)) + contentOf(await it.logged())).toBe("one\ntwo\n");
});

test("rotation under load loses and repeats nothing", async () => {
  const it = await machine();
  const logs = await it.daemon();
  let printed = "";
  for (let round = 0; round < 5; round += 1) {
    for (let line = 0; line < 200; line += 1) {
      const text = `round ${round} line ${line}\n`;
      printed += text;
      await it.print(text);
    }
    await rename(it.request.logPath, `${it.request.logPath}.${round}`);
    await logs.reopen(it.request.machineId, never);
  }
  await logs.finish(it.request.machineId, never);
  let content = "";
  for (const name of ["0.log.0", "0.log.1", "0.log.2", "0.log.3", "0.log.4", "0.log"]) {
    content += contentOf(await readFile(join(it.request.logPath, "..", name)));
  }
  expect(content).toBe(printed);
});

test("when the log cannot be opened anew the old file stays in use and no file is made", async () => {
  const it = await machine();
  const logs = await it.daemon();
  const podFolder = join(it.folder, "pod", "vm");
  await rename(podFolder, join(it.folder, "moved"));
  await expect(logs.reopen(it.request.machineId, never)).rejects.toSatisfy((e) => failsWith(e, "WRONG_STATE"));
  expect(await readdir(join(it.folder, "pod"))).toEqual([]);
  await it.print("still here\n");
  await logs.finish(it.request.machineId, never);
  expect(contentOf(await readFile(join(it.folder, "moved", "0.log")))).toBe("still here\n");
});

test("a flood beyond the cap is cut with a marker that says how much, on a line of its own", async () => {
  const it = await machine({ backlogCapBytes: 4096 });
  const first = await it.daemon();
  await it.print("prompt> ");
  await until(async () => linesOf(await it.logged()).includes("P prompt> "));
  await first[Symbol.asyncDispose]();
  await it.print(`${"x".repeat(99)}\n`.repeat(100));
  const second = await it.daemon();
  await second.finish(it.request.machineId, never);
  const lines = linesOf(await it.logged());
  expect(lines.slice(0, 3)).toEqual([
    "P prompt> ",
    "F ",
    `F [vmlet: console output of ${10_000 - 2048} bytes dropped]`,
  ]);
  expect(contentOf(await it.logged()).slice(-2048)).toBe(`${"x".repeat(99)}\n`.repeat(100).slice(-2048));
});

test("a log that cannot be written is tried again, and drops only what is beyond the cap", async () => {
  const it = await machine({ backlogCapBytes: 1000 });
  await mkdir(it.request.logPath, { recursive: true }); // a folder in its place
  const logs = await it.daemon();
  await it.print("a".repeat(5000));
  await until(async () =>
    (await readFile(it.request.positionPath, "utf8").catch(() => "")).includes('"droppedBytes":4500'),
  );
  await rm(it.request.logPath, { recursive: true });
  await logs.finish(it.request.machineId, never);
  expect(linesOf(await it.logged())).toEqual([
    "F [vmlet: console output of 4500 bytes dropped]",
    `P ${"a".repeat(500)}`,
  ]);
  expect(it.notes).toEqual(["console log cannot be written; trying again"]);
});

for (const [what, make] of [
  ["a link", async (path: string) => symlink("../../outside", path)],
  ["a FIFO", async (path: string) => run("/usr/bin/mkfifo", [path], {}, never)],
] as const) {
  test(`${what} in the place of the log is refused, and hinders nothing`, async () => {
    const it = await machine();
    await writeFile(join(it.folder, "outside"), "");
    await mkdir(join(it.folder, "pod", "vm"), { recursive: true });
    await make(it.request.logPath);
    const logs = await it.daemon();
    await it.print("x\n");
    await until(() => it.notes.length > 0);
    expect(await readFile(join(it.folder, "outside"), "utf8")).toBe("");
    await rm(it.request.logPath);
    await logs.finish(it.request.machineId, never);
    expect(linesOf(await it.logged())).toEqual(["F x"]);
  });
}

for (const what of ["pod/vm", "pod"]) {
  test(`a link in the place of the log's folder ${what} is refused, and hinders nothing`, async () => {
    const it = await machine();
    const outside = join(it.folder, "outside");
    await mkdir(join(outside, "vm"), { recursive: true });
    await mkdir(join(it.folder, what, ".."), { recursive: true });
    await symlink(outside, join(it.folder, what));
    const logs = await it.daemon();
    await expect(logs.reopen(it.request.machineId, never)).rejects.toThrow(
      `${join(it.folder, what)}: is a link, or no folder`,
    );
    await it.print("x\n");
    await until(() => it.notes.length > 0);
    expect((await readdir(outside, { recursive: true })).toSorted()).toEqual(["vm"]);
    await rm(join(it.folder, what));
    await logs.finish(it.request.machineId, never);
    expect(linesOf(await it.logged())).toEqual(["F x"]);
  });
}

test("what takes the rotated log's place while it is looked at is not cut", async () => {
  const it = await machine();
  const victim = join(it.folder, "victim");
  await writeFile(victim, "untouched");
  await using log = await LogFile.open(it.request, { makesFolder: true });
  const rotatedPath = `${it.request.logPath}.1`;
  const kept = `${rotatedPath}-kept`;
  await writeFile(kept, "xx");
  const { dev, ino } = await stat(kept);
  const position = { ...START, log: { identity: `${dev}:${ino}`, sizeBytes: 1 } };
  let isOver = false;
  const swap = async (): Promise<void> => {
    for (let turn = 0; !isOver; turn++) {
      const next = join(it.folder, "next");
      await (turn % 2 === 0 ? symlink(victim, next) : link(kept, next));
      await rename(next, rotatedPath);
    }
  };
  const swapping = swap();
  for (let turn = 0; turn < 500; turn++) {
    await writeFile(kept, "xx");
    await reconcile(log, it.request, position);
  }
  isOver = true;
  await swapping;
  expect(await readFile(victim, "utf8")).toBe("untouched");
});

test("without a log path the console is drained all the same", async () => {
  const it = await machine();
  const logs = await it.daemon({ logPath: "" });
  await it.print("x".repeat(100));
  await until(async () =>
    (await readFile(it.request.positionPath, "utf8").catch(() => "")).includes('"sourceOffset":100'),
  );
  await logs.reopen(it.request.machineId, never);
  await logs.finish(it.request.machineId, never);
  expect((await readdir(it.folder)).sort()).toEqual(["console-position.json", "console.log"]);
});

test("what is in the log is given back to the disk, the newest part excepted, and the length stays", async () => {
  const it = await machine({ punchBatchBytes: 1 << 20, replayBytes: 1 << 19 });
  const logs = await it.daemon();
  const line = `${"y".repeat(1023)}\n`;
  for (let n = 0; n < 4; n += 1) await it.print(line.repeat(1024));
  await logs.finish(it.request.machineId, never);
  expect((await it.logged()).length).toBeGreaterThan(4 << 20);
  const { size, blocks } = await stat(it.request.consoleFilePath);
  expect(size).toBe(4 << 20);
  expect(blocks * 512).toBeLessThanOrEqual((1 << 20) + 8192);
  await using file = await open(it.request.consoleFilePath, constants.O_RDONLY);
  const { buffer } = await file.read(Buffer.alloc(1024), 0, 1024, (4 << 20) - 1024);
  expect(buffer.toString()).toBe(line);
});

test("a broken position goes on at the end of the console, and says so in the log", async () => {
  const it = await machine();
  await it.print("old\n");
  await writeFile(it.request.positionPath, '{"v":1,"sour');
  const logs = await it.daemon();
  await it.print("new\n");
  await logs.finish(it.request.machineId, never);
  expect(linesOf(await it.logged())).toEqual(["F [vmlet: console output of 4 bytes dropped]", "F new"]);
});

test("a console file that appears late is followed", async () => {
  const it = await machine({ unwatchedPollMs: 10 });
  await rm(it.request.consoleFilePath);
  await it.daemon();
  await it.print("late\n");
  await until(async () => contentOf(await it.logged()) === "late\n");
});

test("a console that cannot be logged delays no other", async () => {
  const [bad, good] = [await machine(), await machine()];
  await mkdir(bad.request.logPath, { recursive: true });
  const logs = await bad.daemon();
  await bad.print("x\n");
  await logs.follow(good.request, never);
  await good.print("fine\n");
  await until(async () => contentOf(await good.logged()) === "fine\n");
});
