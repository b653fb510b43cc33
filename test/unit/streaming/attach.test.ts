import { once } from "node:events";
import { appendFile, mkdtempDisposable, writeFile } from "node:fs/promises";
import { createServer, type Server, type Socket } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { text } from "node:stream/consumers";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import type { StreamsWanted } from "../../../src/ports/streaming.ts";
import { type CommandClient, TRANSPORTS, type Transport } from "../../fakes/command-client.ts";
import { poll } from "../../node/poll.ts";
import { nothingWanted, type Site, startSite } from "./site.ts";

const [spdy, webSocket] = [TRANSPORTS[0], TRANSPORTS[2]] as [Transport, Transport];
/** More than the system keeps for a connection whose client does not read. */
const FLOOD_BYTES = 12 << 20;
let site: Site;
let console: FakeConsole;

beforeEach(async () => {
  site = await startSite();
  console = await startConsole();
});
afterEach(async () => {
  await site[Symbol.asyncDispose]();
  await console[Symbol.asyncDispose]();
});

describe.each([spdy, webSocket])("attach over $name", (transport) => {
  test("what was printed last is shown again, then what is printed", async () => {
    await console.print("old\r\n".repeat(100));
    await console.print("login: ");
    const client = await attach(transport, { stdout: true });
    await console.print("root\r\n");
    expect(await shown(client, "root\r\n")).toBe(`${"old\r\n".repeat(24)}login: root\r\n`);
  });

  test("what is typed reaches the console, from all who are attached", async () => {
    const one = await attach(transport, { stdin: true, stdout: true, tty: true });
    const two = await attach(transport, { stdin: true, stdout: true, tty: true });
    one.stdin.write("ls\r");
    await console.typed("ls\r");
    two.stdin.write("pwd\r");
    await console.typed("ls\rpwd\r");
    await console.print("/root\r\n");
    expect(await Promise.all([shown(one, "/root\r\n"), shown(two, "/root\r\n")])).toEqual(["/root\r\n", "/root\r\n"]);
  });

  test("Ctrl-] on a terminal leaves, and what was typed before it still goes", async () => {
    const client = await attach(transport, { stdin: true, stdout: true, tty: true });
    client.stdin.write("bye\u001dnot this");
    expect(await client.status).toContain("Success");
    await client.closed;
    await console.typed("bye");
  });

  test("without a terminal Ctrl-] is a byte like any other", async () => {
    const client = await attach(transport, { stdin: true, stdout: true });
    client.stdin.write("a\u001db");
    await console.typed("a\u001db");
    client.vanish();
  });

  test("a client whose input ended still sees what is printed", async () => {
    const client = await attach(transport, { stdin: true, stdout: true });
    client.stdin.end("x");
    await console.typed("x");
    await console.print("answer");
    expect(await shown(client, "answer")).toBe("answer");
  });

  test("when the machine exits its last words are shown, and attach ends well", async () => {
    const client = await attach(transport, { stdout: true });
    await console.print("first\r\n");
    await shown(client, "first\r\n");
    await console.print("Power down");
    site.end();
    expect(await text(client.stdout)).toBe("Power down");
    expect(await client.status).toContain("Success");
  });
});

test("the console is connected to only while something is typed, one piece after the other", async () => {
  const clients = [0, 1].map(() => attach(spdy, { stdin: true, stdout: true, tty: true }));
  const [one, two] = (await Promise.all(clients)) as [CommandClient, CommandClient];
  await console.print("hello");
  await Promise.all([shown(one, "hello"), shown(two, "hello")]);
  expect(console.connections).toBe(0);
  one.stdin.write("1".repeat(1000));
  two.stdin.write("2".repeat(1000));
  await console.untilTyped(2000);
  expect(console.input()).toMatch(/^(1{1000}2{1000}|2{1000}1{1000})$/);
  expect(console.mostConnections()).toBe(1);
  await console.untilConnections(0);
});

test("what the guest prints while it does not read is taken, so that it never waits for us", async () => {
  await console[Symbol.asyncDispose]();
  console = await startConsole({ reads: false });
  const client = await attach(spdy, { stdin: true, stdout: true, tty: true });
  client.stdin.write("x");
  await console.untilConnections(1);
  await console.flood(32 << 20); // more than the system keeps; resolves when all was taken
});

test("a client that does not read loses what is too old, says where, and disturbs nobody", async () => {
  const stalled = await attach(spdy, { stdout: true });
  await console.print("begin\r\n");
  await shown(stalled, "begin\r\n");
  const other = await attach(webSocket, { stdout: true });
  await shown(other, "begin\r\n");
  const line = `${"x".repeat(1022)}\r\n`;
  let heard = 0;
  other.stdout.on("data", (chunk: Buffer) => (heard += chunk.length)).resume();
  for (let printed = 0; printed < FLOOD_BYTES; ) {
    await console.print(line.repeat(256));
    printed += line.length * 256;
    const all = printed;
    await poll(
      async () => (heard >= all ? true : undefined),
      { what: "the flood", limitMs: 9_000, everyMs: 1 },
      soon(),
    );
  }
  await console.print("the end\r\n");
  const seen = await shown(stalled, "the end\r\n");
  await expect.poll(() => heard).toBe(FLOOD_BYTES + "the end\r\n".length);
  expect(seen).toMatch(/\r\n\[vmlet: \d+ bytes of the console skipped\]\r\n/);
  expect(seen.length).toBeLessThan(FLOOD_BYTES);
  const skipped = [...seen.matchAll(/\r\n\[vmlet: (\d+) bytes of the console skipped\]\r\n/g)];
  const marked = skipped.reduce((sum, [marker, bytes]) => sum + Number(bytes) - marker.length, 0);
  expect(seen.length + marked).toBe(FLOOD_BYTES + "the end\r\n".length); // what is missing is what was said to be
});

test("a console that takes no input says so, and is shown without", async () => {
  await console[Symbol.asyncDispose]();
  console = await startConsole({ takesInput: false });
  await console.print("hello");
  const typing = await attach(spdy, { stdin: true, stdout: true });
  expect(JSON.parse(await typing.status)).toMatchObject({ code: 500 });
  expect(await typing.status).toContain("its console takes no input");
  expect(await shown(await attach(spdy, { stdout: true }), "hello")).toBe("hello");
});

const soon = (): AbortSignal => AbortSignal.timeout(25_000);

async function attach(transport: Transport, wanted: Partial<StreamsWanted>): Promise<CommandClient> {
  return await transport.connect(await site.attachUrl(console, wanted), { ...nothingWanted, ...wanted });
}

/** All that the client is shown up to `end`. */
async function shown(client: CommandClient, end: string): Promise<string> {
  let all = "";
  const { promise, resolve } = Promise.withResolvers<void>();
  const collect = (chunk: Buffer): void => {
    all += chunk.toString("latin1");
    if (all.endsWith(end)) resolve();
  };
  client.stdout.on("data", collect).resume();
  await promise;
  client.stdout.off("data", collect);
  client.stdout.pause();
  return all;
}

interface FakeConsole extends AsyncDisposable {
  readonly filePath: string;
  readonly socketPath: string;
  readonly connections: number;
  mostConnections(): number;
  input(): string;
  untilTyped(bytes: number): Promise<void>;
  print(output: string): Promise<void>;
  /** Prints to whoever is connected; resolves when it was taken. */
  flood(bytes: number): Promise<void>;
  typed(input: string): Promise<void>;
  untilConnections(count: number): Promise<void>;
}

/** As QEMU's: a file that is appended to, a socket that takes one connection at a time. */
async function startConsole({ takesInput = true, reads = true } = {}): Promise<FakeConsole> {
  const folder = await mkdtempDisposable(join(tmpdir(), "vmlet-attach-"));
  const [filePath, socketPath] = [join(folder.path, "console.log"), join(folder.path, "c.sock")];
  await writeFile(filePath, "");
  const sockets = new Set<Socket>();
  let input = "";
  let most = 0;
  const server: Server = createServer({ allowHalfOpen: !reads }, (socket) => {
    sockets.add(socket);
    most = Math.max(most, sockets.size);
    socket.on("close", () => sockets.delete(socket)).on("error", () => {});
    if (reads) socket.on("data", (chunk) => (input += chunk.toString("latin1")));
  });
  if (takesInput) await once(server.listen(socketPath), "listening");
  const until = async (what: string, isSo: () => boolean): Promise<void> => {
    await poll(async () => isSo() || undefined, { what, limitMs: 10_000, everyMs: 5 }, soon());
  };
  return {
    filePath,
    socketPath,
    get connections() {
      return sockets.size;
    },
    mostConnections: () => most,
    input: () => input,
    untilTyped: (bytes) => until(`${bytes} bytes of input`, () => input.length >= bytes),
    print: (output) => appendFile(filePath, output, "latin1"),
    flood: async (bytes) => {
      const [socket] = sockets;
      await new Promise<void>((resolve) => socket?.write(Buffer.alloc(bytes), () => resolve()));
    },
    typed: (wanted) => until(`the input ${JSON.stringify(wanted)}`, () => input === wanted),
    untilConnections: (count) => until(`${count} connections`, () => sockets.size === count),
    [Symbol.asyncDispose]: async () => {
      for (const socket of sockets) socket.destroy();
      server.close();
      await folder.remove();
    },
  };
}
