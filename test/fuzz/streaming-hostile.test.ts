// What a client with a good token and bad manners can do to the streaming server: lose its own connection.

import { connect, type Socket } from "node:net";
import { text } from "node:stream/consumers";
import fc from "fast-check";
import { afterAll, beforeAll, expect, test, vi } from "vitest";
import { dataHeader, pingFrame, resetFrame, synStreamFrame } from "../../src/streaming/spdy/frames.ts";
import { HeaderWriter } from "../../src/streaming/spdy/headers.ts";
import { heldBytes } from "../fakes/held-bytes.ts";
import { SpdyClient, upgrade } from "../fakes/spdy-client.ts";
import { type Site, startSite } from "../unit/streaming/site.ts";

const RUNS = process.env["FULL"] === "1" ? 3_000 : 60;
vi.setConfig({ testTimeout: 30_000 + RUNS * 200 });
/** Far above what a run needs, far below what a leak of its input would take in all runs. */
const MAX_GROWTH_BYTES = 32 << 20;
let site: Site;

beforeAll(async () => void (site = await startSite({ idleMs: 2_000, creationMs: 500 })));
afterAll(() => site[Symbol.asyncDispose]());

const bytes = fc.uint8Array({ maxLength: 400 }).map((each) => Buffer.from(each));
const streamId = fc.oneof(fc.integer({ min: 0, max: 12 }), fc.integer({ min: 0, max: 0x7fff_ffff }));
const headers = fc
  .record({
    streamType: fc.oneof(fc.constantFrom("error", "stdin", "stdout", "stderr", "resize", "data"), fc.string()),
    port: fc.oneof(fc.constantFrom("1", "65535", "0", "-1", ""), fc.string()),
    requestID: fc.oneof(fc.constantFrom("0", "1"), fc.string()),
  })
  .map((each) => new Map(Object.entries(each)));

/** Frames as a client may send them, right and wrong, in any order. */
const frame: fc.Arbitrary<(writer: HeaderWriter) => Buffer> = fc.oneof(
  fc.tuple(streamId, headers, fc.boolean()).map(
    ([id, each, isFin]) =>
      (writer: HeaderWriter) =>
        synStreamFrame(id, writer.write(each), { isFin }),
  ),
  fc.tuple(streamId, bytes, fc.boolean()).map(
    ([id, each, isFin]) =>
      () =>
        Buffer.concat([dataHeader(id, each.length, { isFin }), each]),
  ),
  fc.tuple(streamId, bytes).map(
    ([id, each]) =>
      () =>
        synStreamFrame(id, each, { isFin: false }),
  ),
  streamId.map((id) => () => resetFrame(id, 1)),
  fc.integer({ min: 0, max: 0xffff_ffff }).map((id) => () => pingFrame(id)),
  bytes.map((each) => () => each),
);

test.each(["exec", "portforward"] as const)(
  "whatever frames come over SPDY for %s, the server stays up and keeps nothing",
  async (kind) => {
    const before = await heldBytes();
    await fc.assert(
      fc.asyncProperty(
        fc.array(frame, { maxLength: 30 }),
        fc.array(fc.integer({ min: 1, max: 64 })),
        async (frames, cuts) => {
          const protocol = kind === "exec" ? "v4.channel.k8s.io" : "portforward.k8s.io";
          const socket = await upgrade(await urlOf(kind), { "X-Stream-Protocol-Version": protocol });
          const writer = new HeaderWriter();
          await sendAll(socket as Socket, Buffer.concat(frames.map((write) => write(writer))), cuts);
        },
      ),
      { numRuns: RUNS },
    );
    await stillServes();
    expect((await heldBytes()) - before).toBeLessThan(MAX_GROWTH_BYTES);
  },
);

test.each(["v5.channel.k8s.io", "v4.base64.channel.k8s.io", "SPDY/3.1+portforward.k8s.io"])(
  "whatever bytes come over WebSocket %s, the server stays up and keeps nothing",
  async (protocol) => {
    const before = await heldBytes();
    await fc.assert(
      fc.asyncProperty(
        fc.array(webSocketBytes, { maxLength: 20 }),
        fc.array(fc.integer({ min: 1, max: 64 })),
        async (messages, cuts) => {
          const socket = await upgrade(await urlOf(protocol.includes("port") ? "portforward" : "exec"), {
            Upgrade: "websocket",
            "Sec-WebSocket-Version": "13",
            "Sec-WebSocket-Key": "AAAAAAAAAAAAAAAAAAAAAA==",
            "Sec-WebSocket-Protocol": protocol,
          });
          await sendAll(socket as Socket, Buffer.concat(messages), cuts);
        },
      ),
      { numRuns: RUNS },
    );
    await stillServes();
    expect((await heldBytes()) - before).toBeLessThan(MAX_GROWTH_BYTES);
  },
);

test("whatever bytes come instead of a request, the server stays up", async () => {
  const { port } = new URL(await urlOf("exec"));
  await fc.assert(
    fc.asyncProperty(
      fc.oneof(bytes, fc.constant(Buffer.from("GET /exec/x HTTP/1.1\r\nUpgrade:\r\n"))),
      async (each) => {
        const socket = connect(Number(port), "127.0.0.1").on("error", () => {});
        await sendAll(socket, each, []);
      },
    ),
    { numRuns: RUNS },
  );
  await stillServes();
});

test("whatever is guessed for a token is none, and who has one is served all the same", async () => {
  const before = await heldBytes();
  const url = await urlOf("portforward");
  const { origin } = new URL(url);
  const guess = fc.oneof(
    fc.uint8Array({ minLength: 32, maxLength: 32 }).map((each) => Buffer.from(each).toString("base64url")),
    bytes.map((each) => each.toString("base64url")),
    bytes.map((each) => encodeURI(each.toString("latin1"))),
    fc.nat(url.length).map((at) => `${url.slice(0, at)}A${url.slice(at + 1)}`.slice(origin.length)),
  );
  const kind = fc.constantFrom("exec", "attach", "portforward", "EXEC", "..", "");
  const headers = { "X-Stream-Protocol-Version": ["portforward.k8s.io", "v4.channel.k8s.io"] };
  await fc.assert(
    fc.asyncProperty(kind, guess, async (first, second) => {
      const path = second.startsWith("/portforward/") ? second : `/${first}/${second}`;
      fc.pre(`${origin}${path}` !== url);
      const asked = upgrade(`${origin}${path}`, headers);
      await expect(asked).rejects.toMatchObject({ answer: { status: 404 } });
    }),
    { numRuns: RUNS },
  );
  (await SpdyClient.connect(await urlOf("portforward"), "portforward.k8s.io")).transport.destroy();
  expect((await heldBytes()) - before).toBeLessThan(MAX_GROWTH_BYTES);
});

/** Frames whose first byte and length may be anything, masked with zeros or not. */
const webSocketBytes = fc
  .tuple(fc.integer({ min: 0, max: 255 }), fc.integer({ min: 0, max: 255 }), bytes)
  .chain(([first, second, content]) =>
    fc.constantFrom(
      Buffer.concat([Buffer.of(0x82, 0x80 | Math.min(content.length, 125), 0, 0, 0, 0), content.subarray(0, 125)]),
      Buffer.concat([Buffer.of(first, second), content]),
    ),
  );

async function urlOf(kind: "exec" | "portforward"): Promise<string> {
  if (kind === "portforward") return await site.forwardUrl({ ports: [1] });
  return await site.execUrl(["cat"], { stdin: true, stdout: true });
}

async function sendAll(socket: Socket, all: Buffer, cuts: readonly number[]): Promise<void> {
  socket.on("error", () => {}).resume();
  let at = 0;
  for (const cut of cuts) {
    socket.write(all.subarray(at, at + cut));
    at += cut;
  }
  socket.end(all.subarray(at));
  const gone = setTimeout(() => socket.destroy(), 20); // a client that has said all and vanishes
  await new Promise<void>((resolve) => socket.on("close", () => resolve()));
  clearTimeout(gone);
}

async function stillServes(): Promise<void> {
  const client = await SpdyClient.connect(await site.execUrl(["echo", "alive"], { stdout: true }), "v4.channel.k8s.io");
  client.open({ streamType: "error" }).resume();
  expect(await text(client.open({ streamType: "stdout" }))).toBe("alive\n");
}
