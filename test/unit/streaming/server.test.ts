import { once } from "node:events";
import { request } from "node:http";
import { connect, type Socket } from "node:net";
import { text } from "node:stream/consumers";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import WebSocket from "ws";
import { failsWith } from "../../../src/model/failure.ts";
import { dataHeader, synStreamFrame } from "../../../src/streaming/spdy/frames.ts";
import { HeaderWriter } from "../../../src/streaming/spdy/headers.ts";
import { Tokens } from "../../../src/streaming/tokens.ts";
import { type Answer, Refused, SpdyClient, upgrade } from "../../fakes/spdy-client.ts";
import { poll } from "../../node/poll.ts";
import { type Site, startSite } from "./site.ts";

const SPDY = { "X-Stream-Protocol-Version": "v4.channel.k8s.io" };
let site: Site;

beforeEach(async () => void (site = await startSite({ creationMs: 200 })));
afterEach(() => site[Symbol.asyncDispose]());

describe("tokens", () => {
  test("have 256 bits, of which no two are alike", () => {
    const tokens = new Tokens<number>(() => 0);
    const issued = Array.from({ length: 1_000 }, (_, index) => tokens.issue(index));
    expect(new Set(issued).size).toBe(1_000);
    for (const token of issued) expect(token).toMatch(/^[A-Za-z0-9_-]{43}$/);
  });

  test("are good once, and for a minute", () => {
    let nowMs = 0;
    const tokens = new Tokens<string>(() => nowMs);
    const [early, late] = [tokens.issue("early"), tokens.issue("late")];
    nowMs = 59_999;
    expect([tokens.take(early), tokens.take(early)]).toEqual(["early", undefined]);
    nowMs = 60_000;
    expect(tokens.take(late)).toBeUndefined();
  });

  test("are a thousand at once; the next is refused until one is used or too old", () => {
    let nowMs = 0;
    const tokens = new Tokens<number>(() => nowMs);
    const [first = ""] = Array.from({ length: 1_000 }, (_, index) => tokens.issue(index));
    const refused = (): unknown => {
      try {
        return tokens.issue(0);
      } catch (error) {
        return error;
      }
    };
    expect(refused()).toSatisfy((error) => failsWith(error, "STREAMING_BUSY"));
    tokens.take(first);
    expect(refused()).toBeTypeOf("string");
    nowMs = 60_000;
    expect(refused()).toBeTypeOf("string");
  });
});

describe("a request", () => {
  test("with a token that was never given out is refused, and so is the second with one that was", async () => {
    const url = await site.execUrl(["true"], { stdout: true });
    expect((await refusal(url.replace(/.$/, (last) => (last === "A" ? "B" : "A")))).status).toBe(404);
    (await SpdyClient.connect(url, "v4.channel.k8s.io")).transport.destroy();
    expect((await refusal(url)).status).toBe(404);
  });

  test("for another kind of session than the token's is refused, and the token is used up", async () => {
    const url = await site.execUrl(["true"], { stdout: true });
    expect((await refusal(url.replace("/exec/", "/attach/"))).status).toBe(404);
    expect((await refusal(url)).status).toBe(404);
  });

  test.for(["/", "/exec/", "/exec/a/b", "/exec/../etc/passwd", `/exec/${"a".repeat(5_000)}`, "/portforward/%00"])(
    "for %s is refused",
    async (path) => {
      const { origin } = new URL(await site.forwardUrl());
      expect((await plain(`${origin}${path}`, "GET")).status).toBe(404);
    },
  );

  test("that is no upgrade is refused", async () => {
    expect(await plain(await site.forwardUrl(), "GET")).toMatchObject({ status: 400, body: "an upgrade is needed\n" });
  });

  test("by another method than GET or POST is refused", async () => {
    expect((await plain(await site.forwardUrl(), "DELETE")).status).toBe(405);
  });

  test("without a protocol, or with none that is known, is refused, and told which are", async () => {
    const url = async (): Promise<string> => await site.execUrl(["true"], { stdout: true });
    expect((await refusal(await url(), {})).status).toBe(400);
    expect((await refusal(await url(), { ...SPDY, Upgrade: "h2c" })).status).toBe(400);
    const unknown = await refusal(await url(), { "X-Stream-Protocol-Version": ["v9.channel.k8s.io", "x"] });
    expect([unknown.status, unknown.headers["x-accepted-stream-protocol-versions"]]).toEqual([
      403,
      "v4.channel.k8s.io, v3.channel.k8s.io, v2.channel.k8s.io, channel.k8s.io",
    ]);
    const socket = new WebSocket((await url()).replace("http", "ws"), ["v9.channel.k8s.io"]);
    const [error] = (await once(socket, "error")) as [Error];
    expect(error.message).toContain("403");
  });

  test("may offer its protocols in one line or in several; the first that is known is taken", async () => {
    for (const offer of [["v9.channel.k8s.io, v3.channel.k8s.io"], ["v9.channel.k8s.io", "v3.channel.k8s.io"]]) {
      const client = await SpdyClient.connect(await site.execUrl(["true"], { stdout: true }), ...offer);
      client.transport.destroy();
    }
  });

  test("that never comes, or comes only half, costs its connection in time", async () => {
    const { port } = new URL(await site.forwardUrl());
    const [silent, slow] = [raw(port), raw(port)];
    slow.write("POST /exec/x HTTP/1.1\r\nHost: x\r\n");
    const startedAtMs = performance.now();
    await Promise.all([silent, slow].map(closed));
    expect(performance.now() - startedAtMs).toBeLessThan(5_000);
  });

  test("that never ends, or has endless headers, costs its connection", async () => {
    const { port } = new URL(await site.forwardUrl());
    const bomb = raw(port);
    bomb.write("GET /exec/x HTTP/1.1\r\n");
    const line = `X-Filler: ${"a".repeat(1_000)}\r\n`;
    const timer = setInterval(() => bomb.write(line.repeat(20)), 5);
    await closed(bomb);
    clearInterval(timer);
  });
});

describe("a client that keeps the connection", () => {
  test("and opens no streams is given up in time", async () => {
    const socket = await upgrade(await site.execUrl(["true"], { stdout: true }), SPDY);
    await closed(socket.resume() as Socket);
    expect(site.guestExec.running).toBe(0);
  });

  test("and opens a stream that nobody asked for gets it refused, and the others", async () => {
    const client = await SpdyClient.connect(await site.execUrl(["echo", "x"], { stdout: true }), "v4.channel.k8s.io");
    const stray = client.open({ streamType: "stderr" });
    await expect(stray.replied).rejects.toThrow("closed");
    const [error, stdout] = [client.open({ streamType: "error" }), client.open({ streamType: "stdout" })];
    error.resume();
    expect(await text(stdout)).toBe("x\n");
  });

  test("without a byte either way is given up in time", async () => {
    await using idle = await startSite({ idleMs: 150 });
    const client = await SpdyClient.connect(
      await idle.execUrl(["sleep", "1000"], { stdout: true }),
      "v4.channel.k8s.io",
    );
    for (const streamType of ["error", "stdout"]) client.open({ streamType }).resume();
    await client.closed;
    await poll(
      async () => idle.guestExec.running === 0 || undefined,
      { what: "the end", limitMs: 5_000, everyMs: 5 },
      soon(),
    );
  });

  test("has its pings answered", async () => {
    const client = await SpdyClient.connect(await site.forwardUrl(), "portforward.k8s.io");
    client.ping(1);
    client.ping(2); // of the server's numbers: an answer to something that was not asked
    client.ping(3);
    await poll(
      async () => client.pongs.length >= 2 || undefined,
      { what: "pongs", limitMs: 5_000, everyMs: 5 },
      soon(),
    );
    expect(client.pongs).toEqual([1, 3]);
    client.transport.destroy();
  });

  test.for([
    ["a frame of another version", Buffer.from([0x80, 2, 0, 6, 0, 0, 0, 4, 0, 0, 0, 1])],
    ["a control frame of 16 MiB", Buffer.from([0x80, 3, 0, 4, 0, 0xff, 0xff, 0xff])],
    ["a ping that is too short", Buffer.from([0x80, 3, 0, 6, 0, 0, 0, 1, 0])],
    ["headers that are none", synStreamFrame(1, Buffer.from("garbage"), { isFin: false })],
    ["an even number for its stream", synStreamFrame(2, new HeaderWriter().write(new Map()), { isFin: false })],
    ["HTTP", Buffer.from("GET / HTTP/1.1\r\n\r\n")],
  ] as const)("and sends %s loses it, the server goes on", async ([name, bytes]) => {
    const socket = await upgrade(await site.forwardUrl(), { "X-Stream-Protocol-Version": "portforward.k8s.io" });
    socket.on("error", () => {});
    socket.write(bytes);
    if (name === "HTTP") socket.end(); // taken for the beginning of a data frame
    await closed(socket.resume() as Socket);
    (await SpdyClient.connect(await site.forwardUrl(), "portforward.k8s.io")).transport.destroy();
  });

  test("and sends data for streams that are not open is let be", async () => {
    const client = await SpdyClient.connect(await site.forwardUrl(), "portforward.k8s.io");
    client.transport.write(Buffer.concat([dataHeader(99, 5, { isFin: true }), Buffer.from("stray")]));
    client.ping(1);
    await poll(
      async () => client.pongs.length > 0 || undefined,
      { what: "a pong", limitMs: 5_000, everyMs: 5 },
      soon(),
    );
    client.transport.destroy();
  });

  test("and opens more streams than anybody needs gets the rest refused", async () => {
    await using patient = await startSite();
    const client = await SpdyClient.connect(await patient.forwardUrl(), "portforward.k8s.io");
    const halves = Array.from({ length: 2_010 }, (_, index) =>
      client.open({ streamType: "data", port: "80", requestID: `${index}` }),
    );
    await poll(
      async () => halves.filter(({ isReset }) => isReset).length === 10 || undefined,
      { what: "ten refusals", limitMs: 15_000, everyMs: 10 },
      soon(),
    );
    client.transport.destroy();
  });

  test.for(["v5.channel.k8s.io", "v4.base64.channel.k8s.io"])(
    "and sends messages for no channel, empty ones and broken ones over %s is let be",
    async (protocol) => {
      const url = await site.execUrl(["head", "-n", "1"], { stdin: true, stdout: true });
      const socket = new WebSocket(url.replace("http", "ws"), [protocol]);
      const heard: Buffer[] = [];
      socket.on("message", (message: Buffer) => heard.push(message));
      await once(socket, "open");
      for (const odd of ["", "\u0009x", "9eA==", "0***", Buffer.of(255), Buffer.of(255, 9), Buffer.of(200, 1)])
        socket.send(odd);
      socket.send(protocol.includes("base64") ? `0${Buffer.from("hi\n").toString("base64")}` : Buffer.from("\0hi\n"));
      await once(socket, "close");
      expect(Buffer.concat(heard).toString("latin1")).toContain(protocol.includes("base64") ? "aGkK" : "hi\n");
    },
  );

  test("and sends a message of many megabytes loses it", async () => {
    const url = await site.execUrl(["sleep", "1000"], { stdin: true, stdout: true });
    const socket = new WebSocket(url.replace("http", "ws"), ["v5.channel.k8s.io"]);
    socket.on("error", () => {});
    await once(socket, "open");
    socket.send(Buffer.alloc(5 << 20));
    const [code] = (await once(socket, "close")) as [number];
    expect(code).toBe(1009); // message too big
  });
});

const soon = (): AbortSignal => AbortSignal.timeout(20_000);

async function refusal(url: string, headers: Record<string, string | string[]> = SPDY): Promise<Answer> {
  const error = await upgrade(url, headers).catch((reason: unknown) => reason);
  if (error instanceof Refused) return error.answer;
  throw new Error("was not refused");
}

async function plain(url: string, method: string): Promise<Answer> {
  const asked = request(url, { method });
  asked.end();
  const [response] = (await once(asked, "response")) as [import("node:http").IncomingMessage];
  return { status: response.statusCode ?? 0, headers: response.headers, body: await text(response) };
}

function raw(port: string): Socket {
  return connect(Number(port), "127.0.0.1")
    .on("error", () => {})
    .resume();
}

async function closed(socket: Socket): Promise<void> {
  if (!socket.closed) await new Promise<void>((resolve) => socket.on("close", () => resolve()));
}
