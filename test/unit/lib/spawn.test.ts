import { expect, test } from "vitest";
import { run } from "../../../src/lib/spawn.ts";

const soon = (): AbortSignal => AbortSignal.timeout(20_000);

test("tells exit status and output, and hands nothing of our environment on", async () => {
  const done = await run("/bin/sh", ["-c", "env; echo oops >&2; exit 3"], { env: { A: "b c" } }, soon());
  expect(done.exitCode).toBe(3);
  expect(done.stderr).toBe("oops\n");
  const names = done.stdout
    .toString()
    .split("\n")
    .map((line) => line.split("=")[0]);
  expect(names).toContain("A");
  expect(names).not.toContain("HOME");
});

test("a program that is not there is an error and not an exit status", async () => {
  await expect(run("/no/such/program", [], {}, soon())).rejects.toMatchObject({ code: "ENOENT" });
});

test("output is cut at the cap, and said to be", async () => {
  const done = await run("/bin/sh", ["-c", "head -c 100000 /dev/zero"], { maxOutputBytes: 1000 }, soon());
  expect([done.stdout.length, done.truncated]).toEqual([1000, true]);
});

test("a program that prints without end is ended at the cap, where that is asked for", async () => {
  const limits = { maxOutputBytes: 1000, endAtMaxOutput: true };
  const done = await run("/bin/sh", ["-c", "yes >&2"], limits, soon());
  expect(done).toMatchObject({ signalName: "SIGKILL", truncated: true });
});

test("abort kills the whole process group and rejects with the reason", async () => {
  const stop = new AbortController();
  const running = run("/bin/sh", ["-c", "sleep 1000 & echo started; wait"], {}, stop.signal);
  stop.abort(new Error("enough"));
  await expect(running).rejects.toThrow("enough");
});

test("a daemon that the program leaves behind with our pipes does not hold the call, aborted or not", async () => {
  const script = "setsid sleep 20 & echo $!";
  const done = await run("/bin/sh", ["-c", script], {}, soon());
  process.kill(Number(done.stdout.toString()), "SIGKILL");
  expect(done.exitCode).toBe(0);
  const stop = new AbortController();
  const running = run("/bin/sh", ["-c", `${script}; sleep 1000`], {}, stop.signal);
  setTimeout(() => stop.abort(new Error("enough")), 100);
  await expect(running).rejects.toThrow("enough");
});
