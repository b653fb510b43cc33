import { spawn } from "node:child_process";
import { mkdtempDisposable, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { PassThrough } from "node:stream";
import { setTimeout as pause } from "node:timers/promises";
import { expect, test } from "vitest";
import { behindLine, copyConsole } from "../../../src/streaming/console-output.ts";

const { signal: never } = new AbortController();

test.each([
  [
    "shown",
    async (path: string, signal: AbortSignal) =>
      await copyConsole({ path, to: new PassThrough().resume(), ended: never }, signal),
  ],
  [
    "searched for a line that never comes",
    async (path: string, signal: AbortSignal) => void (await behindLine({ path, ended: never }, "a line", signal)),
  ],
])(
  "a console that is printed to byte by byte without end is looked at now and then while it is %s",
  async (_, follow) => {
    await using folder = await mkdtempDisposable(join(tmpdir(), "vmlet-"));
    const path = join(folder.path, "console.log");
    await writeFile(path, Buffer.alloc(300_000));
    const printer = spawn("/bin/sh", ["-c", 'while :; do printf x; done >>"$1"', "sh", path], { stdio: "ignore" });
    const left = new AbortController();
    const following = follow(path, left.signal);
    try {
      await pause(200);
      const before = process.cpuUsage();
      await pause(1_000);
      const { user, system } = process.cpuUsage(before);
      expect(user + system).toBeLessThan(150_000);
    } finally {
      printer.kill("SIGKILL");
      left.abort();
      await following.catch(() => {});
    }
  },
);
