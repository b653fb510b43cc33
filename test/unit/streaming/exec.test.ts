import { createHash } from "node:crypto";
import { once } from "node:events";
import { Readable } from "node:stream";
import { buffer, text } from "node:stream/consumers";
import { pipeline } from "node:stream/promises";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { type CommandClient, TRANSPORTS, type Transport } from "../../fakes/command-client.ts";
import { poll } from "../../node/poll.ts";
import { nothingWanted, type Site, startSite } from "./site.ts";

const OUTPUTS = { stdout: true, stderr: true } as const;
const LARGE_BYTES = 2 << 20;
/** More than the system keeps for a connection. */
const ENDLESS_BYTES = 12 << 20;
let site: Site;

beforeAll(async () => void (site = await startSite()));
afterAll(() => site[Symbol.asyncDispose]());

describe.each(TRANSPORTS)("exec over $name", (transport) => {
  test("output comes apart, and the status says success", async () => {
    const client = await exec(transport, ["sh", "-c", "echo out; echo err >&2"], OUTPUTS);
    const [stdout, stderr, status] = await Promise.all([text(client.stdout), text(client.stderr), client.status]);
    expect([stdout, stderr]).toEqual(["out\n", "err\n"]);
    expect(status).toBe(transport.isStatus ? '{"metadata":{},"status":"Success"}' : "");
    await client.closed;
  });

  test("an exit code comes back, and the connection ends", async () => {
    const client = await exec(transport, ["sh", "-c", "exit 42"], OUTPUTS);
    client.stdout.resume();
    client.stderr.resume();
    const status = await client.status;
    if (transport.isStatus) {
      expect(JSON.parse(status)).toMatchObject({
        status: "Failure",
        reason: "NonZeroExitCode",
        details: { causes: [{ reason: "ExitCode", message: "42" }] },
      });
    } else expect(status).toBe("command terminated with non-zero exit code: exit status 42");
    await client.closed;
  });

  test("input reaches the command", async () => {
    const client = await exec(transport, ["head", "-n", "1"], { stdin: true, stdout: true });
    client.stdin.write("a line\nand a rest\n");
    expect(await text(client.stdout)).toBe("a line\n");
  });

  const testWithEnd = transport.canEndStdin ? test : () => {};
  testWithEnd("the end of input reaches the command", async () => {
    const client = await exec(transport, ["wc", "-c"], { stdin: true, stdout: true });
    client.stdin.end("12345");
    expect((await text(client.stdout)).trim()).toBe("5");
  });

  test("many megabytes go both ways unchanged", async () => {
    const client = await exec(transport, ["head", "-c", `${LARGE_BYTES}`], { stdin: true, stdout: true });
    const sent = randomPieces(LARGE_BYTES);
    const sending = pipeline(Readable.from(sent), client.stdin, { end: false });
    const got = await buffer(client.stdout);
    await sending;
    expect([got.length, digest(got)]).toEqual([LARGE_BYTES, digest(Buffer.concat(sent))]);
    await client.closed;
  });

  test("a client that vanishes takes its command with it", async () => {
    const client = await exec(transport, ["sh", "-c", "echo started; sleep 1000"], { stdout: true });
    await once(client.stdout, "data");
    client.vanish();
    await untilIdle();
  });

  testWithEnd("a client that does not read makes the command wait, and gets all of it later", async () => {
    const client = await exec(transport, ["head", "-c", `${ENDLESS_BYTES}`, "/dev/zero"], { stdout: true });
    await new Promise((resolve) => setTimeout(resolve, 100)); // nobody reads meanwhile
    expect(site.guestExec.running).toBe(1);
    expect((await buffer(client.stdout)).length).toBe(ENDLESS_BYTES);
  });

  test("sizes of the terminal arrive", async () => {
    site.guestExec.sizes.length = 0;
    const client = await exec(transport, ["cat"], { stdin: true, stdout: true, tty: true });
    client.resize(132, 43);
    await poll(async () => (site.guestExec.sizes.length > 0 ? true : undefined), WHAT("a size"), soon());
    expect(site.guestExec.sizes).toEqual([{ columns: 132, rows: 43 }]);
    client.vanish();
    await untilIdle();
  });

  test("many sessions at once end as each of them should", async () => {
    const sessions = Array.from({ length: 30 }, async (_, index) => {
      const client = await exec(transport, ["sh", "-c", `echo ${index}`], { stdout: true });
      return (await text(client.stdout)).trim();
    });
    expect(await Promise.all(sessions)).toEqual(sessions.map((_, index) => `${index}`));
  });
});

const soon = (): AbortSignal => AbortSignal.timeout(20_000);
const WHAT = (what: string) => ({ what, limitMs: 10_000, everyMs: 5 });

async function exec(
  transport: Transport,
  argv: readonly string[],
  wanted: Partial<typeof nothingWanted>,
): Promise<CommandClient> {
  return await transport.connect(await site.execUrl(argv, wanted), { ...nothingWanted, ...wanted });
}

async function untilIdle(): Promise<void> {
  await poll(async () => (site.guestExec.running === 0 ? true : undefined), WHAT("the command's end"), soon());
}

function randomPieces(bytes: number): Buffer[] {
  const pieces: Buffer[] = [];
  for (let left = bytes, seed = 7; left > 0; ) {
    seed = (seed * 48_271) % 0x7fff_ffff;
    const piece = Buffer.alloc(Math.min(left, 1 + (seed % 50_000)), seed & 0xff);
    pieces.push(piece);
    left -= piece.length;
  }
  return pieces;
}

function digest(bytes: Buffer): string {
  return createHash("sha256").update(bytes).digest("hex");
}
