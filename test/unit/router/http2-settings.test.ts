// Node's own HTTP/2 on the other end, which pads what it sends and changes its settings all the time.

import { constants, performServerHandshake, type ServerHttp2Session, type ServerHttp2Stream } from "node:http2";
import { expect, test } from "vitest";
import { Connection } from "../../../src/router/http2/connection.ts";
import { TYPE } from "../../../src/router/http2/frames.ts";
import { openPair, RawPeer, raw } from "./pair.ts";

const never = new AbortController().signal;
const SIZES = [0, 1, 100, 70_000, 300_000];
const WINDOWS = [1 << 20, 100, 65_535, 1_000];
const TABLES = [0, 4_096, 65_536];

test("a server that pads, and changes its windows, table and frames midway, gets and gives every byte", async () => {
  await using pair = await openPair();
  const session = performServerHandshake(pair.theirs, { paddingStrategy: constants.PADDING_STRATEGY_MAX });
  const broken: unknown[] = [];
  session.on("error", (error) => broken.push(error));
  session.on("stream", (stream, headers) => echo(session, stream, Number(headers["x-turn"])));
  using connection = new Connection(pair.ours, {});
  const bodies = Array.from({ length: 20 }, (_, turn) => Buffer.alloc(SIZES[turn % SIZES.length] ?? 0, `${turn}.`));
  const answers = bodies.map(async (body, turn) => await call(connection, body, turn));
  expect(await Promise.all(answers)).toEqual(bodies.map(({ length }, turn) => ({ length, isWhole: true, turn })));
  expect(broken).toEqual([]);
});

test("what an earlier connection was allowed counts until the server says its own", async () => {
  await using pair = await openPair();
  using connection = new Connection(pair.ours, { maxStreams: 1 });
  const peer = new RawPeer(pair.theirs, { isServer: true });
  connection.open([[":path", "/1"]]);
  expect(connection.isUsable).toBe(false);
  peer.greet();
  peer.send(raw(TYPE.PING, 0, 0, "0000000000000000"));
  await peer.frame(TYPE.PING);
  expect(connection.isUsable).toBe(true); // it has no limit
});

function echo(session: ServerHttp2Session, stream: ServerHttp2Stream, turn: number): void {
  const header = `x-${turn % 7}`;
  stream.respond({ [header]: "kept by whoever has a table" }, { waitForTrailers: true });
  stream.on("wantTrailers", () => stream.sendTrailers({ "x-turn": `${turn}`, [header]: "again" }));
  stream.on("error", () => {}); // the session tells
  stream.on("data", (chunk: Buffer) => {
    if (!session.destroyed && !session.pendingSettingsAck) change(session, chunk.length + turn);
    stream.write(chunk);
  });
  stream.on("end", () => stream.end());
}

function change(session: ServerHttp2Session, turn: number): void {
  session.settings({
    initialWindowSize: WINDOWS[turn % WINDOWS.length] ?? 0,
    headerTableSize: TABLES[turn % TABLES.length] ?? 0,
    maxFrameSize: 16_384 << (turn % 2),
  });
}

async function call(connection: Connection, body: Buffer, turn: number): Promise<unknown> {
  const { incoming, outgoing } = connection.open([
    [":method", "POST"],
    [":scheme", "http"],
    [":path", "/s/M"],
    [":authority", "x"],
    ["x-turn", `${turn}`],
  ]);
  const say = async (): Promise<void> => {
    for (let at = 0; at < body.length; at += 9_999) {
      outgoing.write(body.subarray(at, at + 9_999));
      await outgoing.drained(never);
    }
    outgoing.end();
  };
  const [bytes] = await Promise.all([Array.fromAsync(incoming.bytes()), say()]);
  const answer = Buffer.concat(bytes);
  const told = incoming.trailers?.find(([name]) => name === "x-turn")?.[1];
  return { length: answer.length, isWhole: answer.equals(body), turn: Number(told) };
}
