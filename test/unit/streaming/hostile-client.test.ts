// What somebody with a token, or with none, may try to make the streaming server keep: each is bounded.

import { spawn } from "node:child_process";
import { once } from "node:events";
import { readFile } from "node:fs/promises";
import { connect } from "node:net";
import type { Duplex } from "node:stream";
import { setTimeout as pause } from "node:timers/promises";
import { afterEach, beforeEach, expect, test } from "vitest";
import { dataHeader, pingFrame, synStreamFrame } from "../../../src/streaming/spdy/frames.ts";
import { HeaderWriter } from "../../../src/streaming/spdy/headers.ts";
import { heldBytes } from "../../fakes/held-bytes.ts";
import { Refused, SpdyClient, upgrade } from "../../fakes/spdy-client.ts";
import { frameHeader } from "../../fakes/websocket-tunnel.ts";
import { poll } from "../../node/poll.ts";
import { type Site, startSite } from "./site.ts";

const MIB = 1 << 20;
const FORWARD = { "X-Stream-Protocol-Version": "portforward.k8s.io" };
const CARRIERS = ["SPDY", "SPDY in WebSocket", "WebSocket channels"] as const;
type Carrier = (typeof CARRIERS)[number];
const WHAT = (what: string) => ({ what, limitMs: 15_000, everyMs: 20 });
let site: Site;

beforeEach(async () => void (site = await startSite()));
afterEach(() => site[Symbol.asyncDispose]());

test("a crowd without tokens keeps nobody out: the oldest who only stand there make room", async () => {
  const { port } = new URL(await site.forwardUrl());
  const crowd = Array.from({ length: 600 }, () =>
    connect(Number(port), "127.0.0.1")
      .on("error", () => {})
      .resume(),
  );
  const closed = (): number => crowd.filter(({ destroyed }) => destroyed).length;
  await poll(async () => closed() === 600 - 256 || undefined, WHAT("room"), soon());
  (await SpdyClient.connect(await site.forwardUrl(), "portforward.k8s.io")).transport.destroy();
  const sessions = await Promise.all(
    Array.from({ length: 300 }, async () => await upgrade(await site.forwardUrl(), FORWARD)),
  );
  expect(sessions.filter(({ destroyed }) => destroyed)).toEqual([]); // who got in is no part of the crowd
  for (const each of [...crowd, ...sessions]) each.destroy();
});

test("a token is good for one of many who come with it at once", async () => {
  const url = await site.forwardUrl();
  const came = await Promise.allSettled(Array.from({ length: 50 }, () => upgrade(url, FORWARD)));
  const won = came.flatMap((each) => (each.status === "fulfilled" ? [each.value] : []));
  const lost = came.flatMap((each) => (each.status === "rejected" ? [each.reason as unknown] : []));
  expect(won.length).toBe(1);
  expect(lost.filter((reason) => reason instanceof Refused && reason.answer.status === 404).length).toBe(49);
  for (const socket of won) socket.destroy();
});

test("who sends pings and reads no answer is not listened to, until it reads", async () => {
  const socket = await upgrade(await site.forwardUrl(), FORWARD);
  const pings = Buffer.concat(Array.from({ length: 4_000 }, () => pingFrame(1)));
  const before = await heldBytes();
  expect(await pour(socket, () => pings, 48 * MIB)).toBe("stands still");
  expect((await heldBytes()) - before).toBeLessThan(16 * MIB);
  socket.resume();
  if (socket.writableNeedDrain) await once(socket, "drain", { signal: soon() });
  socket.destroy();
});

test.for(CARRIERS)("bytes that come one by one over %s and nobody takes keep nothing but themselves", async (name) => {
  await using pod = await stoppedPod();
  const url = await site.forwardUrl({ ports: [pod.port] });
  const socket = (await openUnread(name, url, pod.port)).on("error", () => {});
  const before = await heldBytes();
  await pour(socket, () => tinyAmongFiller(name), 150 * MIB);
  expect((await heldBytes()) - before).toBeLessThan(16 * MIB);
  socket.destroy();
});

test("as many streams as there may be, with all that headers may hold, take some megabytes", async () => {
  const client = await SpdyClient.connect(await site.forwardUrl(), "portforward.k8s.io");
  const before = await heldBytes();
  const filler = "x".repeat(3_900);
  for (let n = 0; n < 2_000; n += 1) client.open({ streamType: "data", port: "80", requestID: `${n}${filler}` });
  client.ping(1);
  await poll(async () => client.pongs.length > 0 || undefined, WHAT("a pong"), soon());
  expect((await heldBytes()) - before).toBeLessThan(64 * MIB);
  client.open({ streamType: "data", port: "80", requestID: filler.repeat(2) });
  await client.closed;
});

test("who resets what it opened leaves nothing that still connects to a pod that does not answer", async () => {
  await using pod = await stoppedPod();
  const before = await pod.connecting();
  const client = await SpdyClient.connect(await site.forwardUrl(), "portforward.k8s.io");
  const headers = { port: `${pod.port}`, requestID: "0" };
  const pair = ["error", "data"].map((streamType) => client.open({ ...headers, streamType }));
  await poll(async () => (await pod.connecting()) > before || undefined, WHAT("a connection attempt"), soon());
  for (const stream of pair) stream.reset();
  await poll(async () => (await pod.connecting()) === before || undefined, WHAT("its end"), soon());
  client.transport.destroy();
});

const soon = (): AbortSignal => AbortSignal.timeout(25_000);

/**
 * Writes until the other side has taken nothing for a while, or so much was written. A while is one of turns, not of time: the
 * other side is in this process.
 */
async function pour(to: Duplex, piece: () => Buffer, maxBytes: number): Promise<"stands still" | "taken"> {
  for (let bytes = 0; bytes < maxBytes; ) {
    const next = piece();
    bytes += next.length;
    if (to.write(next)) continue;
    let isDrained = false;
    to.once("drain", () => (isDrained = true));
    for (let turn = 0; !isDrained; turn += 1) {
      if (turn === 30) return "stands still";
      await pause(10);
    }
  }
  return "taken";
}

/** One byte for the pod, and some 60 KiB that are thrown away: together they arrive in one piece. */
function tinyAmongFiller(name: Carrier): Buffer {
  const filler = Buffer.alloc(60 << 10);
  if (name === "WebSocket channels")
    return Buffer.concat([inMessage(Buffer.of(0, 1)), inMessage(Buffer.concat([Buffer.of(99), filler]))]);
  const tiny = Buffer.concat([dataHeader(1, 1, { isFin: false }), Buffer.of(1)]);
  const stray = Buffer.concat([dataHeader(999, filler.length, { isFin: false }), filler]);
  return name === "SPDY" ? Buffer.concat([tiny, stray]) : Buffer.concat([inMessage(tiny), inMessage(stray)]);
}

const inMessage = (content: Buffer): Buffer => Buffer.concat([frameHeader(content.length), content]);

/** The raw connection, behind which a stream is open that nobody reads yet: it is half a pair, or its pod does not answer. */
async function openUnread(name: Carrier, url: string, port: number): Promise<Duplex> {
  if (name === "WebSocket channels") return await upgrade(url, webSocketOf("v4.channel.k8s.io"));
  const isTunnel = name === "SPDY in WebSocket";
  const socket = await upgrade(url, isTunnel ? webSocketOf("SPDY/3.1+portforward.k8s.io") : FORWARD);
  const headers = new Map([
    ["streamtype", "data"],
    ["port", `${port}`],
    ["requestid", "0"],
  ]);
  const frame = synStreamFrame(1, new HeaderWriter().write(headers), { isFin: false });
  socket.write(isTunnel ? inMessage(frame) : frame);
  return socket.resume();
}

function webSocketOf(protocol: string): Record<string, string> {
  return {
    Upgrade: "websocket",
    "Sec-WebSocket-Version": "13",
    "Sec-WebSocket-Key": "AAAAAAAAAAAAAAAAAAAAAA==",
    "Sec-WebSocket-Protocol": protocol,
  };
}

/** A process that listens and is stopped, with a queue that is full: who connects hears nothing at all. */
async function stoppedPod(): Promise<AsyncDisposable & { readonly port: number; connecting(): Promise<number> }> {
  const script = `const server = require("net").createServer();
    server.listen({ port: 0, host: "127.0.0.1", backlog: 1 }, () => console.log(server.address().port));`;
  const child = spawn(process.execPath, ["-e", script], { stdio: ["ignore", "pipe", "inherit"] });
  const [line] = (await once(child.stdout, "data")) as [Buffer];
  const port = Number(line);
  child.kill("SIGSTOP");
  const queue = Array.from({ length: 4 }, () => connect(port, "127.0.0.1").on("error", () => {}));
  await Promise.all(queue.slice(0, 2).map(async (socket) => await once(socket, "connect")));
  const suffix = `:${port.toString(16).toUpperCase().padStart(4, "0")}`;
  return {
    port,
    connecting: async () => {
      const lines = (await readFile("/proc/net/tcp", "utf8")).split("\n").map((each) => each.trim().split(/\s+/));
      return lines.filter(([, , remote, state]) => state === "02" && remote?.endsWith(suffix)).length;
    },
    [Symbol.asyncDispose]: async () => {
      for (const socket of queue) socket.destroy();
      child.kill("SIGKILL");
    },
  };
}
