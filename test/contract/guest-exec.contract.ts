// What every GuestExec does, in a guest that has sh.

import { createHash } from "node:crypto";
import { Readable, Writable } from "node:stream";
import { expect, test } from "vitest";
import type { GuestExec, GuestTarget } from "../../src/ports/guest-exec.ts";

export interface GuestExecUnderTest {
  readonly exec: GuestExec;
  readonly target: GuestTarget;
}

/** What the way into the guest can do. The agent has no input stream. */
export interface Abilities {
  readonly hasStdin: boolean;
  /** Bytes that the large tests move. */
  readonly largeBytes: number;
}

const LIMIT_MS = 60_000;
const soon = (): AbortSignal => AbortSignal.timeout(LIMIT_MS);

export function guestExecContract(get: () => GuestExecUnderTest, { hasStdin, largeBytes }: Abilities): void {
  test("a command's output and its exit code come back, stdout and stderr apart", async () => {
    const { stdout, stderr, exitCode } = await sh(get(), "echo out; echo err >&2; exit 7");
    expect({ stdout: stdout.text(), stderr: stderr.text(), exitCode }).toEqual({
      stdout: "out\n",
      stderr: "err\n",
      exitCode: 7,
    });
  });

  test("each argument arrives as it is: spaces, quotes, newlines, dollars, backslashes", async () => {
    const argv = ["printf", "%s|", "a b", "'\"", "x\ny", "$HOME `id`", "\\", "", "*"];
    const stdout = new Sink();
    await get().exec.run(get().target, { argv, isTty: false }, { stdout }, soon());
    expect(stdout.text()).toBe(`${argv.slice(2).join("|")}|`);
  });

  test("a command that was killed by a signal exits with 128 and its number", async () => {
    expect((await sh(get(), "kill -TERM $$")).exitCode).toBe(128 + 15);
  });

  test("a command that does not exist exits with 127, as in a shell", async () => {
    const argv = ["/no/such/command"];
    expect(await get().exec.run(get().target, { argv, isTty: false }, {}, soon())).toBe(127);
  });

  test("output is ended when the command's is, with every byte", async () => {
    const { stdout } = await sh(get(), `head -c ${largeBytes} /dev/zero`);
    expect([stdout.writableFinished, stdout.bytes, stdout.digest()]).toEqual([
      true,
      largeBytes,
      digestOfZeros(largeBytes),
    ]);
  });

  test("a reader that is slow loses nothing", async () => {
    const slow = new Sink({ pauseMs: 1 });
    const argv = ["sh", "-c", "i=0; while [ $i -lt 2000 ]; do echo line $i; i=$((i+1)); done"];
    await get().exec.run(get().target, { argv, isTty: false }, { stdout: slow }, soon());
    expect(slow.text().split("\n").slice(-2)).toEqual(["line 1999", ""]);
  });

  test("a reader that goes away does not keep the command", async () => {
    const gone = new Writable({ write: (_chunk, _encoding, done) => done(new Error("gone")) });
    gone.on("error", () => {});
    const argv = ["sh", "-c", "yes | head -c 200000; exit 0"];
    await expect(get().exec.run(get().target, { argv, isTty: false }, { stdout: gone }, soon())).resolves.toBeTypeOf(
      "number",
    );
  });

  test("abort ends the waiting with its reason", async () => {
    const controller = new AbortController();
    const argv = ["sh", "-c", "echo started; sleep 1000"];
    const stdout = new Sink({ onData: () => controller.abort(new Error("enough")) });
    await expect(get().exec.run(get().target, { argv, isTty: false }, { stdout }, controller.signal)).rejects.toThrow(
      "enough",
    );
  });

  test("a command that takes longer than it may is killed, as a timeout", async () => {
    const command = { argv: ["sleep", "1000"], isTty: false, limitMs: 200 };
    await expect(get().exec.run(get().target, command, {}, soon())).rejects.toMatchObject({ name: "TimeoutError" });
  });

  if (!hasStdin) return; // a way without input promises nothing of it

  test("input arrives whole, and its end is seen", async () => {
    const chunk = Buffer.alloc(64 << 10, "x");
    const chunks = Array.from({ length: Math.ceil(largeBytes / chunk.length) }, () => chunk);
    const stdout = new Sink();
    const argv = ["wc", "-c"];
    const stdin = Readable.from(chunks);
    expect(await get().exec.run(get().target, { argv, isTty: false }, { stdin, stdout }, soon())).toBe(0);
    expect(stdout.text().trim()).toBe(`${chunks.length * chunk.length}`);
  });

  test("a command that leaves its input unread ends all the same", async () => {
    const stdin = new Readable({ read() {} }); // never ends
    stdin.push("unread");
    expect(await get().exec.run(get().target, { argv: ["true"], isTty: false }, { stdin }, soon())).toBe(0);
  });
}

async function sh(
  { exec, target }: GuestExecUnderTest,
  script: string,
): Promise<{ stdout: Sink; stderr: Sink; exitCode: number }> {
  const [stdout, stderr] = [new Sink(), new Sink()];
  const exitCode = await exec.run(target, { argv: ["sh", "-c", script], isTty: false }, { stdout, stderr }, soon());
  return { stdout, stderr, exitCode };
}

interface SinkOptions {
  readonly pauseMs?: number;
  readonly onData?: () => void;
}

/** Keeps the first MiB, hashes all. */
class Sink extends Writable {
  bytes = 0;
  readonly #options: SinkOptions;
  readonly #kept: Buffer[] = [];
  readonly #hash = createHash("sha256");

  constructor(options: SinkOptions = {}) {
    super();
    this.#options = options;
  }

  override _write(chunk: Buffer, _encoding: BufferEncoding, done: () => void): void {
    this.bytes += chunk.length;
    this.#hash.update(chunk);
    if (this.bytes <= 1 << 20) this.#kept.push(chunk);
    this.#options.onData?.();
    setTimeout(done, this.#options.pauseMs ?? 0);
  }

  digest(): string {
    return this.#hash.digest("hex");
  }

  text(): string {
    return Buffer.concat(this.#kept).toString("utf8");
  }
}

function digestOfZeros(bytes: number): string {
  return createHash("sha256").update(Buffer.alloc(bytes)).digest("hex");
}
