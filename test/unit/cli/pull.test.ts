import { writeFile } from "node:fs/promises";
import { dirname, join } from "node:path";
import { status } from "@grpc/grpc-js";
import { expect, test } from "vitest";
import { PullPhase, type PullRequest } from "../../../src/gen/vmlet.ts";
import { FakeVmletServer } from "../../fakes/vmlet-server.ts";
import { DIGEST, imageFact, NAME, pullFact } from "./facts.ts";
import { runCli } from "./run.ts";

/** A daemon that tells progress three times, then has the image. */
async function pulling(): Promise<FakeVmletServer & { readonly asked: PullRequest[] }> {
  const daemon = await FakeVmletServer.listen();
  const asked: PullRequest[] = [];
  daemon.onPull = (call) => {
    asked.push(call.request);
    call.write({
      progress: pullFact({ phase: PullPhase.PULL_PHASE_ASKING, receivedBytes: 0n, totalBytes: undefined }),
    });
    call.write({ progress: pullFact() });
    call.write({ progress: pullFact({ receivedBytes: 75_000_000n }) });
    call.write({ image: imageFact() });
    call.end();
  };
  return Object.assign(daemon, { asked });
}

test("progress is lines on stderr, the result one on stdout", async () => {
  await using daemon = await pulling();
  const ran = await runCli(["pull", NAME, "--socket", daemon.socketPath]);
  expect(ran).toEqual({
    stdout: `${NAME}: ${DIGEST} (qcow2, 346 MB on disk, 2.15 GB for the guest)\n`,
    stderr: `${NAME}: asking, 0 B\n${NAME}: 25 MB of 100 MB (25 %), 2.5 MB/s, 30s left\n`,
    error: undefined,
  });
});

test("--quiet prints the digest and nothing else", async () => {
  await using daemon = await pulling();
  const ran = await runCli(["pull", "-q", NAME, "--socket", daemon.socketPath], { columns: 80 });
  expect(ran).toEqual({ stdout: `${DIGEST}\n`, stderr: "", error: undefined });
});

test("--json is an object a line, progress and then the image", async () => {
  await using daemon = await pulling();
  const { stdout, stderr } = await runCli(["pull", "--json", NAME, "--socket", daemon.socketPath]);
  const told = stdout
    .trimEnd()
    .split("\n")
    .map((line) => JSON.parse(line));
  expect(told).toMatchObject([
    { type: "progress", phase: "asking", receivedBytes: 0 },
    { type: "progress", phase: "receiving", receivedBytes: 25_000_000, totalBytes: 100_000_000, image: NAME },
    { type: "progress", phase: "receiving", receivedBytes: 75_000_000, bytesPerSecond: 2_500_000 },
    { type: "image", digest: DIGEST, sizeBytes: 345_678_901 },
  ]);
  expect(stderr).toBe("");
});

test("--json tells an error as an object also where nobody could be asked", async () => {
  const { stdout, error } = await runCli(["pull", "--json", NAME, "--socket", "/nowhere/vmlet.sock"]);
  expect(JSON.parse(stdout)).toEqual({ type: "error", message: expect.stringContaining("no daemon on /nowhere") });
  expect(error).toMatchObject({ message: expect.stringContaining("no daemon on /nowhere") });
});

test("on a terminal a bar is drawn that is full at the end, and no line is wider than the terminal", async () => {
  await using daemon = await pulling();
  const { stdout, stderr } = await runCli(["pull", NAME, "--socket", daemon.socketPath], { columns: 80 });
  const [name, ...rest] = stderr.split("\n");
  expect(name).toBe(NAME);
  const drawn = rest
    .join("")
    .split(/\p{Cc}(?:\[[?0-9;]*[A-Za-z]|[78])/u)
    .filter((piece) => piece !== "");
  expect(drawn.length).toBeGreaterThan(1);
  for (const piece of drawn) expect(piece.length, piece).toBeLessThanOrEqual(80);
  expect(drawn.at(-1)).toMatch(/^\[=+\] checking, 100 MB of 100 MB \(100 %\)$/);
  expect(stdout).toContain(DIGEST);
});

test("a refusal is one clean line for people, and an object for programs", async () => {
  await using daemon = await FakeVmletServer.listen();
  daemon.failure = { code: status.NOT_FOUND, details: "https://a answers 404: <\u001b[2Jscript>\n" };
  const message = "https://a answers 404: <\\u001b[2Jscript>\\n (NOT_FOUND)";
  const ran = await runCli(["pull", NAME, "--socket", daemon.socketPath]);
  expect(ran).toMatchObject({ stdout: "", error: { name: "CliFailure", message } });
  const { stdout, error } = await runCli(["pull", "--json", NAME, "--socket", daemon.socketPath]);
  expect(JSON.parse(stdout)).toEqual({ type: "error", code: "NOT_FOUND", message });
  expect(error).toMatchObject({ message });
});

test.each([[undefined], [80]])("who is told to stop leaves the daemon, and says so (columns: %s)", async (columns) => {
  await using daemon = await FakeVmletServer.listen();
  const left = Promise.withResolvers<void>();
  const stop = new AbortController();
  const reason = new Error("stopped by SIGINT");
  daemon.onPull = (call) => {
    call.write({ progress: pullFact() });
    call.on("cancelled", () => left.resolve());
    setImmediate(() => stop.abort(reason));
  };
  const options = { signal: stop.signal, ...(columns === undefined ? {} : { columns }) };
  const { error, stderr } = await runCli(["pull", NAME, "--socket", daemon.socketPath], options);
  expect(error).toBe(reason);
  expect(stderr).toContain("no longer waiting; the download ends unless somebody else waits for it\n");
  await left.promise;
});

test("credentials come from a file or from stdin, and reach the daemon as they are", async () => {
  await using daemon = await pulling();
  const path = join(dirname(daemon.socketPath), "creds");
  await writeFile(path, "me:pass:word \n");
  const socket = ["--socket", daemon.socketPath];
  await runCli(["pull", NAME, "--creds-file", path, ...socket]);
  await runCli(["pull", NAME, "--creds-file", "-", ...socket], { stdin: "me:from stdin" });
  await runCli(["pull", NAME, "--creds", "me:seen", ...socket]);
  await runCli(["pull", NAME, ...socket]);
  expect(daemon.asked.map(({ credentials }) => credentials?.password)).toEqual([
    "pass:word ",
    "from stdin",
    "seen",
    undefined,
  ]);
  expect(daemon.asked[0]).toEqual({ image: NAME, credentials: { username: "me", password: "pass:word " } });
});

test.each([
  [["--creds", "secret"], "--creds: wants user:password on one line"],
  [["--creds", "a:b", "--creds-file", "-"], "--creds and --creds-file: give one of them"],
  [["--creds-file", "/nonexistent"], /^--creds-file \/nonexistent: ENOENT/],
  [["--creds-file", "/dev/zero"], "--creds-file /dev/zero: is larger than 65536 bytes"],
])("%j is refused before the daemon is asked, without the secret", async (argv, message) => {
  const { error } = await runCli(["pull", NAME, "--socket", "/nonexistent", ...argv]);
  expect(error).toMatchObject({ name: "CliFailure", message: expect.stringMatching(message) });
  expect(String(error)).not.toContain("secret");
});
