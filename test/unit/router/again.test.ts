// What a runtime says it never began is tried once more, as a client of gRPC does; what it may have begun is not.

import { once } from "node:events";
import { mkdtemp, rm } from "node:fs/promises";
import { createServer, type Http2Server, type ServerHttp2Session, type ServerHttp2Stream } from "node:http2";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, expect, test } from "vitest";
import { Backend } from "../../../src/router/backend.ts";
import { CODE, frame } from "../../../src/router/grpc.ts";
import { poll } from "../../node/poll.ts";

const REFUSED_STREAM = 7;
const never = new AbortController().signal;
let folderPath: string;
let server: Http2Server;
let sessions: ServerHttp2Session[];
let backend: Backend;
/** The bytes of each request that came. */
let asked: string[];
let answer: (stream: ServerHttp2Stream, session: ServerHttp2Session) => void;

beforeEach(async () => {
  folderPath = await mkdtemp(join(tmpdir(), "vmlet-again-"));
  sessions = [];
  asked = [];
  answer = succeed;
  server = createServer().listen(join(folderPath, "s"));
  server.on("session", (session) => void sessions.push(session.on("error", () => {})));
  server.on("stream", (stream: ServerHttp2Stream) => void take(stream));
  await once(server, "listening");
  backend = new Backend("containers", join(folderPath, "s"));
});
afterEach(async () => {
  backend[Symbol.dispose]();
  for (const session of sessions) session.destroy();
  server.close();
  await rm(folderPath, { recursive: true });
});

async function take(stream: ServerHttp2Stream): Promise<void> {
  stream.on("error", () => {});
  const bytes = Buffer.concat((await Array.fromAsync(stream)) as Buffer[]);
  asked.push(bytes.subarray(5).toString());
  answer(stream, stream.session as ServerHttp2Session);
}

function succeed(stream: ServerHttp2Stream): void {
  stream.respond({ "content-type": "application/grpc" }, { waitForTrailers: true });
  stream.on("wantTrailers", () => stream.sendTrailers({ "grpc-status": "0" }));
  stream.end(frame(Buffer.from("done")));
}

const call = async (request: string): Promise<string> =>
  String(await Array.fromAsync(backend.stream("/s/M", Buffer.from(request), [], never)));

const refusing = (stream: ServerHttp2Stream): void => {
  answer = succeed;
  stream.close(REFUSED_STREAM);
};

test("a call that is refused is tried once more", async () => {
  answer = refusing;
  expect(await call("one")).toBe("done");
  expect(asked).toEqual(["one", "one"]);
  expect(sessions).toHaveLength(1);
});

test("a call whose answer is passed on as it comes is, too", async () => {
  answer = refusing;
  using exchange = backend.open({ path: "/s/M", metadata: [] }, never);
  exchange.send(Buffer.from("one"));
  expect(await exchange.headers()).toContainEqual([":status", "200"]);
  expect(Buffer.concat(await Array.fromAsync(exchange.bytes()))).toEqual(frame(Buffer.from("done")));
  expect(asked).toEqual(["one", "one"]);
});

test("a call that is refused again is UNAVAILABLE", async () => {
  answer = (stream) => stream.close(REFUSED_STREAM);
  await expect(call("one")).rejects.toMatchObject({
    code: CODE.UNAVAILABLE,
    message: expect.stringMatching(/containers runtime .*REFUSED_STREAM/),
  });
  expect(asked).toHaveLength(2);
});

test("a call that was beyond a runtime's last is made on a new connection", async () => {
  expect(await call("one")).toBe("done");
  answer = (_stream, session) => {
    answer = succeed;
    session.goaway(0, 1);
  };
  expect(await call("two")).toBe("done");
  expect(asked).toEqual(["one", "two", "two"]);
  expect(sessions).toHaveLength(2);
});

test("a call that found its connection closed before it was sent is made on a new one", async () => {
  expect(await call("one")).toBe("done");
  sessions[0]?.socket.destroy(); // and the next call comes before that is seen
  expect(await call("two")).toBe("done");
  expect(asked).toEqual(["one", "two"]);
});

test("a call that may have begun when the connection went is not made again", async () => {
  answer = (_stream, session) => {
    answer = succeed;
    session.socket.destroy();
  };
  await expect(call("one")).rejects.toMatchObject({ code: CODE.UNAVAILABLE });
  expect(asked).toEqual(["one"]);
});

test("a call that is reset as refused after its answer began is not made again", async () => {
  answer = (stream) => {
    stream.respond({ "content-type": "application/grpc" });
    stream.write(frame(Buffer.from("half")), () => stream.close(REFUSED_STREAM));
  };
  await expect(call("one")).rejects.toMatchObject({ code: CODE.UNAVAILABLE });
  expect(asked).toEqual(["one"]);
});

test("a caller that went away meanwhile is not called for again", async () => {
  const gone = new AbortController();
  answer = (stream) => {
    gone.abort(new Error("gone"));
    stream.close(REFUSED_STREAM);
  };
  const calling = Array.fromAsync(backend.stream("/s/M", Buffer.from("one"), [], gone.signal));
  await expect(calling).rejects.toThrow("gone");
  expect(asked).toEqual(["one"]);
});

test("calls beyond what a runtime takes on one connection go on others, which end when they are not needed", async () => {
  server.updateSettings({ maxConcurrentStreams: 2 });
  expect(await call("first")).toBe("done");
  const waiting: ServerHttp2Stream[] = [];
  answer = (stream) => {
    waiting.push(stream);
    if (waiting.length === 9) for (const one of waiting) succeed(one);
  };
  const calls = Array.from({ length: 9 }, async (_, index) => await call(String(index)));
  expect(await Promise.all(calls)).toEqual(calls.map(() => "done"));
  const isOpen = (session: ServerHttp2Session): boolean => !session.destroyed;
  await poll(
    () => (sessions.length >= 5 && sessions.filter(isOpen).length === 1) || undefined,
    { what: "one connection is left", limitMs: 5_000, everyMs: 10 },
    never,
  );
});
