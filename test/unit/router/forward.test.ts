// What passes through the router as it came, between a client and a runtime that both say exactly what they want.

import { once } from "node:events";
import {
  type ClientHttp2Session,
  type ClientHttp2Stream,
  connect,
  createServer,
  type IncomingHttpHeaders,
  type OutgoingHttpHeaders,
  type ServerHttp2Session,
  type ServerHttp2Stream,
} from "node:http2";
import { createConnection } from "node:net";
import { afterEach, beforeEach, expect, test } from "vitest";
import { frame } from "../../../src/router/grpc.ts";
import { Site } from "./site.ts";

const UNKNOWN = "/runtime.v9.Service/Method";
const KNOWN = "/runtime.v1.ImageService/ImageStatus"; // an image without a name is containers'
const LIST = "/runtime.v1.RuntimeService/ListPodSandbox";
const MiB = 1 << 20;

let site: Site;
let client: ClientHttp2Session;
let sessions: ServerHttp2Session[];
let runtime: ReturnType<typeof createServer>;
/** Whether the containers' runtime lets the router itself wait. */
let isSilent: boolean;
/** How it answers the tests' calls. */
let answer: (stream: ServerHttp2Stream, headers: IncomingHttpHeaders) => unknown;

beforeEach(async () => {
  site = await Site.open();
  await site.containers.kill();
  sessions = [];
  isSilent = false;
  runtime = createServer().listen(site.containers.socketPath);
  runtime.on("session", (session) => void sessions.push(session));
  runtime.on("stream", (stream: ServerHttp2Stream, headers) => {
    stream.on("error", () => {});
    if (headers["x-test"] !== undefined) answer(stream, headers);
    else if (!isSilent) succeed(stream, frame(Buffer.alloc(0))); // the router asks what there is
  });
  await once(runtime, "listening");
  client = connect("http://localhost", { createConnection: () => createConnection(site.socketPath) });
});
afterEach(async () => {
  client.destroy();
  for (const session of sessions) session.destroy();
  runtime.close();
  await site[Symbol.asyncDispose]();
});

interface Answer {
  readonly headers: IncomingHttpHeaders;
  readonly trailers: IncomingHttpHeaders;
  readonly bytes: Buffer;
}

function begin(path: string, metadata: OutgoingHttpHeaders = {}): ClientHttp2Stream {
  const own = { ":method": "POST", ":path": path, "content-type": "application/grpc", "x-test": "1" };
  return client.request({ ...own, ...metadata });
}

async function call(path: string, body: Buffer, metadata: OutgoingHttpHeaders = {}): Promise<Answer> {
  const stream = begin(path, metadata);
  let headers: IncomingHttpHeaders = {};
  let trailers: IncomingHttpHeaders = {};
  stream
    .on("response", (received) => void (headers = received))
    .on("trailers", (received) => void (trailers = received));
  stream.end(body);
  const bytes = Buffer.concat((await Array.fromAsync(stream)) as Buffer[]);
  return { headers, trailers: headers["grpc-status"] === undefined ? trailers : headers, bytes };
}

/** Headers, messages, and OK with what else is in the trailers. */
function succeed(stream: ServerHttp2Stream, bytes: Buffer, headers = {}, trailers = {}): void {
  stream.respond({ "content-type": "application/grpc", ...headers }, { waitForTrailers: true });
  stream.on("wantTrailers", () => stream.sendTrailers({ "grpc-status": "0", ...trailers }));
  stream.end(bytes);
}

test.each([KNOWN, UNKNOWN])(
  "metadata of both sides passes, repeated and binary, but for what is between neighbours: %s",
  async (path) => {
    let seen: IncomingHttpHeaders = {};
    answer = (stream, headers) => {
      seen = headers;
      succeed(stream, frame(Buffer.from("hello")), { "x-head": ["1", "2"] }, { "x-tail-bin": "AAEC", "x-tail": "ü" });
    };
    const given = {
      "x-one": ["a", "b"],
      "x-data-bin": "/w==",
      "user-agent": "me/1",
      "grpc-accept-encoding": "gzip",
      te: "trailers",
    };
    const { headers, trailers, bytes } = await call(path, frame(Buffer.alloc(0)), given);
    expect(seen).toMatchObject({
      "x-one": "a, b",
      "x-data-bin": "/w==",
      "user-agent": "me/1",
      te: "trailers",
      ":path": path,
    });
    expect(seen).not.toHaveProperty("grpc-accept-encoding");
    expect(headers).toMatchObject({ ":status": 200, "x-head": "1, 2" });
    expect(trailers).toMatchObject({ "grpc-status": "0", "x-tail-bin": "AAEC" });
    expect(bytes).toEqual(frame(Buffer.from("hello")));
  },
);

test("a status without headers or messages passes with its details", async () => {
  const status = { "grpc-status": "9", "grpc-message": "caf%C3%A9", "grpc-status-details-bin": "CAk" };
  answer = (stream) => stream.respond({ "content-type": "application/grpc", ...status }, { endStream: true });
  const { headers, bytes } = await call(KNOWN, frame(Buffer.alloc(0)));
  expect(headers).toMatchObject(status);
  expect(bytes).toHaveLength(0);
});

test.each(["StopPodSandbox", "RunPodSandbox", "ListPodSandbox", "Status", "ImageStatus"])(
  "a refusal of %s is the runtime's own, with all that belongs to it",
  async (method) => {
    const path = `/runtime.v1.${method === "ImageStatus" ? "Image" : "Runtime"}Service/${method}`;
    const status = {
      "grpc-status": "13",
      "grpc-message": "100%25 ".repeat(900).trim(),
      "grpc-status-details-bin": "CAk",
    };
    answer = (stream) => stream.respond({ "content-type": "application/grpc", ...status }, { endStream: true });
    const { headers, bytes } = await call(path, frame(Buffer.alloc(0)));
    expect(headers).toMatchObject(status);
    expect(bytes).toHaveLength(0);
  },
);

test("an answer of many mebibytes arrives whole, however slowly it is read, and so does a question", async () => {
  const large = Buffer.alloc(12 * MiB, "0123456789abc");
  let asked = 0;
  answer = (stream) => {
    stream.on("data", (chunk: Buffer) => (asked += chunk.length));
    stream.on("end", () => succeed(stream, frame(large)));
  };
  const stream = begin(UNKNOWN);
  stream.end(frame(large));
  let bytes = 0;
  for await (const chunk of stream) {
    bytes += (chunk as Buffer).length;
    await new Promise((resolve) => setImmediate(resolve));
  }
  expect([asked, bytes]).toEqual([large.length + 5, large.length + 5]);
});

test("messages of a method that nobody knows go both ways as they are said", async () => {
  answer = (stream) => {
    stream.respond({ "content-type": "application/grpc" }, { waitForTrailers: true });
    stream.on("wantTrailers", () => stream.sendTrailers({ "grpc-status": "0" }));
    stream.on("data", (chunk: Buffer) => stream.write(chunk));
    stream.on("end", () => stream.end());
  };
  const stream = begin(UNKNOWN);
  for (const word of ["one", "two"]) {
    stream.write(frame(Buffer.from(word)));
    expect((await once(stream, "data"))[0]).toEqual(frame(Buffer.from(word))); // before the next is said
  }
  stream.end();
  expect((await once(stream, "trailers"))[0]).toMatchObject({ "grpc-status": "0" });
});

test("an answer in pieces of any size is one answer", async () => {
  const body = frame(Buffer.from("0a036f6e65", "hex"));
  answer = async (stream) => {
    stream.respond({ "content-type": "application/grpc" }, { waitForTrailers: true });
    stream.on("wantTrailers", () => stream.sendTrailers({ "grpc-status": "0" }));
    for (const byte of body) await new Promise((done) => stream.write(Buffer.of(byte), done));
    stream.end();
  };
  const { bytes } = await call(LIST, frame(Buffer.alloc(0)));
  expect(bytes).toEqual(body); // the machines' list is empty
});

test.each([
  ["compressed", Buffer.from("0100000003aabbcc", "hex"), "12"],
  ["of more than 16 MiB", Buffer.from("0001000001aa", "hex"), "8"],
  ["that is cut off", Buffer.from("0000000009aa", "hex"), "13"],
])("a message %s is refused with a status", async (_how, body, status) => {
  answer = (stream) => succeed(stream, body);
  expect((await call(KNOWN, body)).trailers["grpc-status"]).toBe(status);
  expect((await call(UNKNOWN, body)).trailers["grpc-status"]).toBe("0"); // unread, so none of ours
});

test("an answer that ends without a status is UNAVAILABLE", async () => {
  answer = (stream) => {
    stream.respond({ "content-type": "application/grpc" });
    stream.end(frame(Buffer.from("half")));
  };
  const { trailers } = await call(KNOWN, frame(Buffer.alloc(0)));
  expect(trailers).toMatchObject({ "grpc-status": "14", "grpc-message": expect.stringMatching(/before.*status/) });
});

test.each([
  ["resets the call with PROTOCOL_ERROR", "13", (stream: ServerHttp2Stream) => stream.close(1)],
  ["resets the call with INTERNAL_ERROR", "13", (stream: ServerHttp2Stream) => stream.close(2)],
  ["takes no more of it", "14", (stream: ServerHttp2Stream) => stream.close(7)],
  ["cancels it", "1", (stream: ServerHttp2Stream) => stream.close(8)],
  ["has enough of it", "8", (stream: ServerHttp2Stream) => stream.close(11)],
  ["is gone", "14", (stream: ServerHttp2Stream) => stream.session?.destroy()],
])("a runtime that %s in the middle of its answer has that status", async (_how, status, go) => {
  answer = (stream) => succeed(stream, frame(Buffer.alloc(0)));
  await call(LIST, frame(Buffer.alloc(0)));
  const timesDown = (): number =>
    site.log.lines.filter(({ message }) => message.startsWith("runtime does not answer")).length;
  const timesBefore = timesDown();
  answer = (stream) => {
    stream.respond({ "content-type": "application/grpc" }, { waitForTrailers: true });
    stream.on("wantTrailers", () => {}); // so that Node does not end it before it resets it
    stream.write(frame(Buffer.from("half")), () => go(stream));
  };
  expect((await call(KNOWN, frame(Buffer.alloc(0)))).trailers["grpc-status"]).toBe(status);
  await call(LIST, frame(Buffer.alloc(0)));
  expect(timesDown() - timesBefore).toBe(status === "14" ? 1 : 0);
});

test("a call that is refused is tried again, and where its messages are not kept the caller is told that it may", async () => {
  let times = 0;
  answer = (stream) => {
    times += 1;
    if (times === 1) stream.close(7);
    else succeed(stream, frame(Buffer.from("hello")));
  };
  expect((await call(KNOWN, frame(Buffer.alloc(0)))).trailers["grpc-status"]).toBe("0");
  times = 0;
  const refused = begin(UNKNOWN);
  refused.on("error", () => {});
  refused.end(frame(Buffer.alloc(0)));
  await new Promise((resolve) => refused.once("close", resolve));
  expect(refused.rstCode).toBe(7);
  expect((await call(UNKNOWN, frame(Buffer.alloc(0)))).trailers["grpc-status"]).toBe("0");
});

test("a runtime that says it goes away answers what it has begun; the next call finds it again", async () => {
  answer = (stream) => {
    stream.session?.close(); // GOAWAY
    stream.session?.once("goaway", () => {});
    setImmediate(() => succeed(stream, frame(Buffer.from("still"))));
  };
  for (const _again of [1, 2]) {
    const { bytes, trailers } = await call(KNOWN, frame(Buffer.alloc(0)));
    expect(trailers["grpc-status"]).toBe("0");
    expect(bytes).toEqual(frame(Buffer.from("still")));
  }
  expect(sessions.length).toBeGreaterThanOrEqual(2);
});

test.each(["2592000S", "99999999H"])(
  "a deadline in %s, further than a timer reaches, is passed on",
  async (timeout) => {
    let seen: IncomingHttpHeaders = {};
    answer = async (stream, headers) => {
      seen = headers;
      await new Promise((resolve) => setTimeout(resolve, 50));
      succeed(stream, frame(Buffer.from("hello")));
    };
    const { trailers } = await call(KNOWN, frame(Buffer.alloc(0)), { "grpc-timeout": timeout });
    expect(trailers["grpc-status"]).toBe("0");
    expect(seen["grpc-timeout"]).toBe(timeout);
  },
);

test("a deadline ends a call whose request does not come", async () => {
  const stream = begin(KNOWN, { "grpc-timeout": "100m" });
  stream.on("error", () => {});
  const [headers] = await once(stream, "response");
  expect(headers["grpc-status"]).toBe("4");
});

test("a deadline ends a call for an id that the router asks both for", async () => {
  isSilent = true; // it is waited for half a minute
  const nobody = frame(Buffer.from("0a066e6f626f6479", "hex"));
  const { trailers } = await call("/runtime.v1.RuntimeService/StopPodSandbox", nobody, { "grpc-timeout": "100m" });
  expect(trailers["grpc-status"]).toBe("4");
});

test("a deadline ends a call whose answer has begun, and the runtime is told", async () => {
  const told = Promise.withResolvers<void>();
  answer = (stream) => {
    stream.respond({ "content-type": "application/grpc" });
    stream.on("close", told.resolve);
  };
  const { trailers } = await call(KNOWN, frame(Buffer.alloc(0)), { "grpc-timeout": "200m" });
  expect(trailers["grpc-status"]).toBe("4");
  await told.promise;
});
