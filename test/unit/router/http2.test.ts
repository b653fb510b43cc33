import { once } from "node:events";
import { mkdtemp, rm } from "node:fs/promises";
import { type ClientHttp2Session, connect, createServer, type ServerHttp2Stream } from "node:http2";
import { createConnection } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { Connection } from "../../../src/router/http2/connection.ts";
import { ERROR } from "../../../src/router/http2/errors.ts";
import { FLAG, type Frame, numbers, PREFACE, SETTING, TYPE } from "../../../src/router/http2/frames.ts";
import type { Headers } from "../../../src/router/http2/hpack.ts";
import type { Stream } from "../../../src/router/http2/stream.ts";
import { openPair, type Pair, RawPeer, REQUEST, raw, WHOLE } from "./pair.ts";

const MiB = 1 << 20;
const ANSWER: Headers = [[":status", "200"]];
const never = new AbortController().signal;
const bytesOf = async ({ incoming }: Stream): Promise<Buffer> => Buffer.concat(await Array.fromAsync(incoming.bytes()));
const last = (payload: Buffer): number => payload.readUInt32BE(payload.length - 4);

let pair: Pair;
let streams: Stream[];
beforeEach(async () => {
  pair = await openPair();
  streams = [];
});
afterEach(async () => await pair[Symbol.asyncDispose]());

const serve = (onStream = (stream: Stream): void => void streams.push(stream)): Connection =>
  new Connection(pair.ours, { onStream });

describe("beside Node's own HTTP/2", () => {
  const echo = async (stream: Stream): Promise<void> => {
    stream.outgoing.begin([...ANSWER, ["x-twice", "a"], ["x-twice", "b"]]);
    for await (const chunk of stream.incoming.bytes()) {
      stream.outgoing.write(chunk);
      await stream.outgoing.drained(never);
    }
    stream.outgoing.end([["grpc-status", "0"]]);
  };

  test("a server's headers, bytes and trailers arrive, more than any window and several at once", async () => {
    serve((stream) => void echo(stream));
    const client: ClientHttp2Session = connect("http://x", { createConnection: () => pair.theirs });
    const bodies = [3 * MiB, 0, 70_000].map((length) => Buffer.alloc(length, "abcdefg"));
    const answers = bodies.map(async (body) => {
      const call = client.request({ ":method": "POST", ":path": "/s/M", "x-long": "v".repeat(20_000) });
      const [headers, trailers] = [once(call, "response"), once(call, "trailers")];
      call.end(body);
      const bytes = Buffer.concat((await Array.fromAsync(call)) as Buffer[]);
      return { isWhole: bytes.equals(body), headers: (await headers)[0], trailers: (await trailers)[0] };
    });
    for (const { isWhole, headers, trailers } of await Promise.all(answers)) {
      expect(isWhole).toBe(true);
      expect(headers).toMatchObject({ ":status": 200, "x-twice": "a, b" });
      expect(trailers).toMatchObject({ "grpc-status": "0" });
    }
    client.destroy();
  });

  test("a client's do, too", async () => {
    await using folder = {
      path: await mkdtemp(join(tmpdir(), "vmlet-http2-")),
      [Symbol.asyncDispose]: async () => await rm(folder.path, { recursive: true }),
    };
    const server = createServer().listen(join(folder.path, "s"));
    server.on("stream", (stream: ServerHttp2Stream, headers) => {
      stream.respond({ "x-path": headers[":path"], "x-long": headers["x-long"] }, { waitForTrailers: true });
      stream.on("wantTrailers", () => stream.sendTrailers({ "grpc-status": "0" }));
      stream.pipe(stream);
    });
    await once(server, "listening");
    using connection = new Connection(createConnection(join(folder.path, "s")), {});
    for (const length of [3 * MiB, 0, 5]) {
      const stream = connection.open([
        [":method", "POST"],
        [":scheme", "http"],
        [":path", "/s/M"],
        [":authority", "x"],
        ["x-long", "ä".repeat(20_000)],
      ]);
      const body = Buffer.alloc(length, "abcdefg");
      stream.outgoing.write(body);
      stream.outgoing.end();
      await stream.incoming.begun();
      expect(stream.incoming.headers).toContainEqual(["x-path", "/s/M"]);
      expect(stream.incoming.headers).toContainEqual(["x-long", "ä".repeat(20_000)]);
      expect((await bytesOf(stream)).equals(body)).toBe(true);
      expect(stream.incoming.trailers).toEqual([["grpc-status", "0"]]);
    }
    server.close();
  });
});

describe("a peer that breaks the rules loses its connection, and is told why:", () => {
  const begun = raw(TYPE.HEADERS, FLAG.END_HEADERS, 1, REQUEST);
  const cases: readonly [what: string, code: number, ...bytes: Buffer[]][] = [
    ["a frame that is too large", ERROR.FRAME_SIZE_ERROR, Buffer.from("004001000000000001", "hex")],
    ["bytes of a stream that has not begun", ERROR.PROTOCOL_ERROR, raw(TYPE.DATA, 0, 1, "00")],
    ["a stream with a server's number", ERROR.PROTOCOL_ERROR, raw(TYPE.HEADERS, WHOLE, 2, REQUEST)],
    ["a header block that goes on without a beginning", ERROR.PROTOCOL_ERROR, raw(TYPE.CONTINUATION, 4, 1, REQUEST)],
    [
      "a header block that is interrupted",
      ERROR.PROTOCOL_ERROR,
      raw(TYPE.HEADERS, 0, 1, REQUEST),
      raw(TYPE.PING, 0, 0, "0000000000000000"),
    ],
    [
      "a header block that never ends",
      ERROR.ENHANCE_YOUR_CALM,
      raw(TYPE.HEADERS, 0, 1, REQUEST),
      ...Array.from({ length: 8_000 }, () => raw(TYPE.CONTINUATION, 0, 1)),
    ],
    ["a header that is in no table", ERROR.COMPRESSION_ERROR, raw(TYPE.HEADERS, WHOLE, 1, "ff8001")],
    ["a header block that breaks off", ERROR.COMPRESSION_ERROR, raw(TYPE.HEADERS, WHOLE, 1, "0005")],
    ["a string that is no Huffman code", ERROR.COMPRESSION_ERROR, raw(TYPE.HEADERS, WHOLE, 1, "00826161")],
    ["a table larger than allowed", ERROR.COMPRESSION_ERROR, raw(TYPE.HEADERS, WHOLE, 1, "3fffff03")],
    ["more padding than bytes", ERROR.PROTOCOL_ERROR, begun, raw(TYPE.DATA, FLAG.PADDED, 1, "05aa")],
    ["a promise", ERROR.PROTOCOL_ERROR, raw(TYPE.PUSH_PROMISE, 4, 1, "00000002")],
    ["settings of half a size", ERROR.FRAME_SIZE_ERROR, raw(TYPE.SETTINGS, 0, 0, "000400")],
    ["a window that cannot be, in its settings", ERROR.FLOW_CONTROL_ERROR, raw(TYPE.SETTINGS, 0, 0, "0004ffffffff")],
    [
      "settings that make a window what it cannot be",
      ERROR.FLOW_CONTROL_ERROR,
      begun,
      raw(TYPE.WINDOW_UPDATE, 0, 1, "7fff0000"),
      raw(TYPE.SETTINGS, 0, 0, "00047fffffff"),
    ],
    ["a window that cannot be", ERROR.FLOW_CONTROL_ERROR, raw(TYPE.WINDOW_UPDATE, 0, 0, "7fffffff")],
    ["a window that grows by nothing", ERROR.FLOW_CONTROL_ERROR, raw(TYPE.WINDOW_UPDATE, 0, 0, "00000000")],
    ["a ping of half a size", ERROR.FRAME_SIZE_ERROR, raw(TYPE.PING, 0, 0, "00")],
  ];
  test.each(cases)("%s", async (_what, code, ...bytes) => {
    serve();
    const peer = new RawPeer(pair.theirs);
    peer.send(PREFACE);
    peer.greet();
    peer.send(...bytes);
    expect(last((await peer.frame(TYPE.GOAWAY)).payload)).toBe(code);
    await peer.closed();
    for (const stream of streams) await expect(bytesOf(stream)).rejects.toThrow();
  });

  test.each([
    ["another protocol", Buffer.from("GET / HTTP/1.1\r\n\r\n")],
    ["a frame before its settings", Buffer.concat([PREFACE, raw(TYPE.PING, 0, 0, "0000000000000000")])],
  ])("%s", async (_what, bytes) => {
    serve();
    const peer = new RawPeer(pair.theirs);
    peer.send(bytes);
    expect(last((await peer.frame(TYPE.GOAWAY)).payload)).toBe(ERROR.PROTOCOL_ERROR);
    await peer.closed();
  });

  test("pings without end, whose answers it does not read", async () => {
    const gone = Promise.withResolvers<void>();
    new Connection(pair.ours, { onStream: () => {}, onClose: gone.resolve });
    pair.theirs.pause();
    pair.theirs.on("error", () => {});
    const pings = Buffer.concat(Array.from({ length: 60_000 }, () => raw(TYPE.PING, 0, 0, "0000000000000000")));
    pair.theirs.write(Buffer.concat([PREFACE, raw(TYPE.SETTINGS, 0, 0), ...Array.from({ length: 12 }, () => pings)]));
    await gone.promise;
  });
});

describe("a stream that breaks the rules ends alone:", () => {
  let peer: RawPeer;
  beforeEach(() => {
    serve();
    peer = new RawPeer(pair.theirs);
    peer.send(PREFACE);
    peer.greet();
  });
  const resetCode = async (): Promise<number> => last((await peer.frame(TYPE.RST_STREAM)).payload);
  const isAlive = async (): Promise<void> => {
    peer.send(raw(TYPE.HEADERS, WHOLE, 99, REQUEST), raw(TYPE.PING, 0, 0, "0102030405060708"));
    expect((await peer.frame(TYPE.PING)).payload.toString("hex")).toBe("0102030405060708");
    expect(streams.at(-1)?.incoming.headers).toEqual([
      [":method", "POST"],
      [":scheme", "http"],
      [":path", "/"],
    ]);
  };

  test("headers that are small on the wire and huge in memory", async () => {
    const entry = Buffer.concat([Buffer.from("4001617f8117", "hex"), Buffer.alloc(3_096, "x")]); // 3,096 bytes, to be kept
    peer.send(raw(TYPE.HEADERS, WHOLE, 1, Buffer.concat([entry, Buffer.alloc(4_000, 0xbe)]))); // and 4,000 times again
    expect(await resetCode()).toBe(ERROR.ENHANCE_YOUR_CALM);
    await isAlive();
  });

  test("more bytes than its window", async () => {
    peer.send(raw(TYPE.HEADERS, FLAG.END_HEADERS, 1, REQUEST));
    for (let sent = 0; sent <= 1 << 18; sent += 16_384) peer.send(raw(TYPE.DATA, 0, 1, Buffer.alloc(16_384)));
    expect(await resetCode()).toBe(ERROR.FLOW_CONTROL_ERROR);
    await isAlive();
  });

  test("a window full of frames of one byte is kept in few pieces", async () => {
    peer.send(raw(TYPE.HEADERS, FLAG.END_HEADERS, 1, REQUEST));
    peer.send(Buffer.concat(Array.from({ length: 1 << 18 }, (_, at) => raw(TYPE.DATA, 0, 1, Buffer.of(at & 0xff)))));
    peer.send(raw(TYPE.DATA, FLAG.END_STREAM, 1), raw(TYPE.PING, 0, 0, "0000000000000000"));
    await peer.frame(TYPE.PING);
    const chunks = await Array.fromAsync(streams[0]?.incoming.bytes() ?? []);
    expect(chunks.length).toBeLessThanOrEqual((1 << 18) / 2_048);
    expect(Buffer.concat(chunks).equals(Buffer.from(Array.from({ length: 1 << 18 }, (_, at) => at & 0xff)))).toBe(true);
  });

  test("a window that cannot be", async () => {
    peer.send(raw(TYPE.HEADERS, FLAG.END_HEADERS, 1, REQUEST), raw(TYPE.WINDOW_UPDATE, 0, 1, "7fffffff"));
    expect(await resetCode()).toBe(ERROR.FLOW_CONTROL_ERROR);
    await isAlive();
  });

  test("headers in the middle", async () => {
    peer.send(raw(TYPE.HEADERS, FLAG.END_HEADERS, 1, REQUEST), raw(TYPE.HEADERS, FLAG.END_HEADERS, 1, REQUEST));
    expect(await resetCode()).toBe(ERROR.PROTOCOL_ERROR);
    await isAlive();
  });

  test("one more than a thousand at once is refused, and a place is free again when one ends", async () => {
    const begin = (id: number): Buffer => raw(TYPE.HEADERS, WHOLE, id, REQUEST);
    peer.send(...Array.from({ length: 1_001 }, (_, index) => begin(2 * index + 1)));
    expect(await peer.frame(TYPE.RST_STREAM)).toMatchObject({
      streamId: 2_001,
      payload: numbers(ERROR.REFUSED_STREAM),
    });
    streams[0]?.outgoing.begin(ANSWER, { isLast: true });
    await peer.frame(TYPE.HEADERS);
    peer.send(begin(2_003));
    await peer.pong();
    expect(streams).toHaveLength(1_001);
  });

  test("frames of one that we have ended, of unknown types, and of priorities are passed over", async () => {
    peer.send(raw(TYPE.HEADERS, FLAG.END_HEADERS, 1, REQUEST), raw(TYPE.PING, 0, 0, "0000000000000000"));
    await peer.frame(TYPE.PING);
    streams[0]?.reset(ERROR.CANCEL, new Error("not wanted"));
    expect(await resetCode()).toBe(ERROR.CANCEL);
    peer.send(
      raw(TYPE.DATA, FLAG.END_STREAM, 1, "00"),
      raw(TYPE.RST_STREAM, 0, 1, "00000000"),
      raw(2, 0, 1, "0000000000"),
      raw(0x42, 9, 7, "ff"),
    );
    await isAlive();
  });
});

describe("when it goes", () => {
  test("a server that goes away finishes what has begun, takes nothing new, and closes", async () => {
    const connection = serve();
    const peer = new RawPeer(pair.theirs);
    peer.send(PREFACE);
    peer.greet();
    peer.send(raw(TYPE.HEADERS, WHOLE, 1, REQUEST), raw(TYPE.PING, 0, 0, "0000000000000000"));
    await peer.frame(TYPE.PING);
    connection.goAway();
    expect((await peer.frame(TYPE.GOAWAY)).payload).toEqual(numbers(1, ERROR.NO_ERROR));
    peer.send(
      raw(TYPE.HEADERS, WHOLE, 3, REQUEST),
      raw(TYPE.DATA, 0, 3, "00"),
      raw(TYPE.PING, 0, 0, "0000000000000000"),
    );
    await peer.frame(TYPE.PING);
    expect(streams).toHaveLength(1);
    streams[0]?.outgoing.begin(ANSWER, { isLast: true });
    expect((await peer.frame(TYPE.HEADERS)).streamId).toBe(1);
    await peer.closed();
  });

  test("a client whose server goes away has its last calls answered, the others refused, and opens no more", async () => {
    const connection = new Connection(pair.ours, {});
    const peer = new RawPeer(pair.theirs, { isServer: true });
    const [first, second] = [connection.open([[":path", "/1"]]), connection.open([[":path", "/2"]])];
    peer.greet();
    peer.send(raw(TYPE.GOAWAY, 0, 0, numbers(1, ERROR.NO_ERROR)));
    await expect(bytesOf(second)).rejects.toThrow("the call was not taken (NO_ERROR)");
    expect(connection.isUsable).toBe(false);
    first.outgoing.end();
    peer.send(raw(TYPE.HEADERS, FLAG.END_HEADERS, 1, "88"), raw(TYPE.DATA, FLAG.END_STREAM, 1, "abcd"));
    expect((await bytesOf(first)).toString("hex")).toBe("abcd");
    await peer.closed();
  });

  test("a client may open no more streams than its server takes", async () => {
    using connection = new Connection(pair.ours, {});
    const peer = new RawPeer(pair.theirs, { isServer: true });
    peer.greet([SETTING.MAX_CONCURRENT_STREAMS, 1]);
    await peer.pong();
    expect(connection.isUsable).toBe(true);
    connection.open([[":path", "/1"]]).outgoing.end();
    expect(connection.isUsable).toBe(false);
    peer.send(raw(TYPE.HEADERS, WHOLE, 1, "88"), raw(TYPE.PING, 0, 0, "0000000000000000"));
    await peer.frame(TYPE.PING);
    expect(connection.isUsable).toBe(true);
  });

  test.each([
    ["ends", (): unknown => pair.theirs.end()],
    ["breaks", (): unknown => pair.theirs.destroy()],
  ])(
    "a connection that %s in the middle of an answer fails its reader and its writer, and leaves nobody waiting",
    async (_how, go) => {
      const connection = new Connection(pair.ours, {});
      const peer = new RawPeer(pair.theirs, { isServer: true });
      const stream = connection.open([[":path", "/1"]]);
      peer.greet();
      peer.send(raw(TYPE.HEADERS, FLAG.END_HEADERS, 1, "88"), raw(TYPE.DATA, 0, 1, "ab"));
      await stream.incoming.begun();
      stream.outgoing.write(Buffer.alloc(MiB)); // more than the peer allows
      const [reading, writing] = [bytesOf(stream), stream.outgoing.drained(never)];
      const failed = Promise.all([expect(reading).rejects.toThrow(), expect(writing).rejects.toThrow()]);
      go();
      await failed;
      expect(connection.isUsable).toBe(false);
    },
  );

  test("a writer who is held up stops waiting when it is told to", async () => {
    using connection = new Connection(pair.ours, {});
    const stream = connection.open([[":path", "/1"]]);
    stream.outgoing.write(Buffer.alloc(MiB));
    const giveUp = new AbortController();
    const waiting = stream.outgoing.drained(giveUp.signal);
    giveUp.abort(new Error("enough"));
    await expect(waiting).rejects.toThrow("enough");
  });

  test("all writers who are held up go on when the peer takes more", async () => {
    using connection = new Connection(pair.ours, {});
    const peer = new RawPeer(pair.theirs, { isServer: true });
    const stream = connection.open([[":path", "/1"]]);
    stream.outgoing.write(Buffer.alloc(200_000));
    const waiting = Promise.all([stream.outgoing.drained(never), stream.outgoing.drained(never)]);
    peer.greet();
    peer.send(raw(TYPE.WINDOW_UPDATE, 0, 0, numbers(MiB)), raw(TYPE.WINDOW_UPDATE, 0, 1, numbers(MiB)));
    await waiting;
  });

  test("a writer goes on when little is left to send, though the window is used up", async () => {
    using connection = new Connection(pair.ours, {});
    const peer = new RawPeer(pair.theirs, { isServer: true });
    const stream = connection.open([[":path", "/1"]]);
    stream.outgoing.write(Buffer.alloc(200_000));
    const waiting = stream.outgoing.drained(never);
    peer.greet();
    peer.send(raw(TYPE.WINDOW_UPDATE, 0, 0, numbers(MiB)), raw(TYPE.WINDOW_UPDATE, 0, 1, numbers(100_000)));
    await waiting;
    expect(stream.outgoing.isHeldUp).toBe(true);
  });

  test("bytes that are written one by one while the peer takes none are sent in few frames", async () => {
    using connection = new Connection(pair.ours, {});
    const peer = new RawPeer(pair.theirs, { isServer: true });
    peer.greet([SETTING.INITIAL_WINDOW_SIZE, 0]);
    await peer.pong();
    const stream = connection.open([[":path", "/1"]]);
    const body = Buffer.from(Array.from({ length: 60_000 }, (_, at) => at & 0xff));
    for (const byte of body) stream.outgoing.write(Buffer.of(byte));
    stream.outgoing.end();
    peer.send(raw(TYPE.WINDOW_UPDATE, 0, 1, numbers(5)), raw(TYPE.WINDOW_UPDATE, 0, 1, numbers(MiB)));
    const frames: Frame[] = [];
    do frames.push(await peer.frame(TYPE.DATA));
    while ((frames.at(-1)?.flags ?? 0) !== FLAG.END_STREAM);
    expect(Buffer.concat(frames.map(({ payload }) => payload)).equals(body)).toBe(true);
    expect(frames.length).toBeLessThanOrEqual(body.length / 2_048);
  });

  test("settings are acknowledged before what they allow is sent", async () => {
    using connection = new Connection(pair.ours, {});
    const peer = new RawPeer(pair.theirs, { isServer: true });
    peer.greet([SETTING.INITIAL_WINDOW_SIZE, 4]);
    await peer.pong();
    const stream = connection.open([[":path", "/1"]]);
    stream.outgoing.write(Buffer.from("0123456789"));
    expect((await peer.frame(TYPE.DATA)).payload.toString()).toBe("0123");
    peer.greet([SETTING.INITIAL_WINDOW_SIZE, 8]);
    expect(await peer.frame(TYPE.SETTINGS)).toMatchObject({ flags: FLAG.ACK });
    expect((await peer.frame(TYPE.DATA)).payload.toString()).toBe("4567");
  });

  test("windows that the server narrows and widens later are kept to", async () => {
    using connection = new Connection(pair.ours, {});
    const peer = new RawPeer(pair.theirs, { isServer: true });
    peer.greet([SETTING.INITIAL_WINDOW_SIZE, 4]);
    await peer.pong();
    const stream = connection.open([[":path", "/1"]]);
    stream.outgoing.write(Buffer.from("0123456789"));
    stream.outgoing.end();
    expect((await peer.frame(TYPE.DATA)).payload.toString()).toBe("0123");
    peer.send(raw(TYPE.SETTINGS, 0, 0, "000400000001"), raw(TYPE.WINDOW_UPDATE, 0, 1, "00000005")); // −3, then +5
    expect((await peer.frame(TYPE.DATA)).payload.toString()).toBe("45");
    peer.send(raw(TYPE.WINDOW_UPDATE, 0, 1, "000000ff"));
    expect(await peer.frame(TYPE.DATA)).toMatchObject({ payload: Buffer.from("6789"), flags: FLAG.END_STREAM });
  });
});
