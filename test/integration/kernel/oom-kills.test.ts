// A process that the kernel ends for want of memory, in a cgroup of its own, and one that something else ends.

import { spawn } from "node:child_process";
import { existsSync, mkdirSync, readlinkSync, rmdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import { wasKilledForMemory } from "../../../src/kernel/oom-kills.ts";

const V1 = "/sys/fs/cgroup/memory";
const isV1 = existsSync(V1);
const folderPath = join(isV1 ? V1 : "/sys/fs/cgroup", `vmlet-test-oom-${process.pid}`);

beforeAll(() => {
  mkdirSync(folderPath);
  writeFileSync(join(folderPath, isV1 ? "memory.limit_in_bytes" : "memory.max"), `${16 << 20}`);
});
afterAll(() => rmdirSync(folderPath));

/** `tail` keeps the last line of what it reads, and /dev/zero has but one. */
async function pidOfEnded(script: string): Promise<number> {
  const child = spawn("/bin/sh", ["-c", script, folderPath], { stdio: "ignore" });
  const { promise: ended, resolve, reject } = Promise.withResolvers<void>();
  child.once("error", reject).once("exit", () => resolve());
  await ended;
  if (child.pid === undefined) throw new Error("it was not started");
  return child.pid;
}

/** The kernel's log has the pids of the machine; the number is that of its first pid namespace. */
const hasMachinesPids = readlinkSync("/proc/self/ns/pid") === "pid:[4026531836]";

test.skipIf(!hasMachinesPids)(
  `the kernel's log tells who was ended for want of memory, and who was not${hasMachinesPids ? "" : " (skipped: pids are of a namespace)"}`,
  async () => {
    const starved = await pidOfEnded('echo $$ >"$0/cgroup.procs" && exec tail /dev/zero');
    expect(wasKilledForMemory(starved)).toBe(true);
    const killed = await pidOfEnded("kill -9 $$");
    expect(wasKilledForMemory(killed)).toBe(false);
  },
);

test("a log that cannot be read tells nothing", () => {
  expect(wasKilledForMemory(1, "/nowhere/kmsg")).toBe(false);
});
