import { createHash } from "node:crypto";
import { once } from "node:events";
import { createServer, type Server, type Socket } from "node:net";
import type { Duplex } from "node:stream";
import { text } from "node:stream/consumers";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import WebSocket from "ws";
import { type ClientStream, SpdyClient } from "../../fakes/spdy-client.ts";
import { connectTunnel } from "../../fakes/websocket-tunnel.ts";
import { poll } from "../../node/poll.ts";
import { type Site, startSite } from "./site.ts";

interface Pair {
  readonly data: ClientStream;
  readonly error: ClientStream;
}

const LARGE_BYTES = 4 << 20;
let site: Site;
let pod: Pod;

beforeEach(async () => {
  site = await startSite({ creationMs: 300 });
  pod = await startPod();
});
afterEach(async () => {
  await site[Symbol.asyncDispose]();
  pod.close();
});

const CLIENTS = [
  { name: "SPDY", connect: async (url: string) => await SpdyClient.connect(url, "portforward.k8s.io") },
  {
    name: "SPDY in WebSocket",
    connect: async (url: string) => new SpdyClient(await connectTunnel(url, "SPDY/3.1+portforward.k8s.io")),
  },
] as const;

describe.each(CLIENTS)("port-forward over $name", ({ connect }) => {
  test("what a client says reaches the pod, and the answer comes back", async () => {
    const client = await connect(await site.forwardUrl());
    const { data, error } = pair(client, pod.port);
    pod.onConnection((socket) => socket.pipe(socket));
    data.end("hello");
    expect([await text(data), await text(error)]).toEqual(["hello", ""]);
  });

  test("a client that has said all still hears the answer, however long that takes", async () => {
    const client = await connect(await site.forwardUrl());
    const { data } = pair(client, pod.port);
    pod.onConnection((socket) => {
      socket.resume().on("end", () => setTimeout(() => socket.end("late"), 1_500)); // longer than anything of ours waits
    });
    data.end("question");
    expect(await text(data)).toBe("late");
  });

  test("when the pod has said all, the error stream ends, too, although the client goes on sending nothing", async () => {
    const client = await connect(await site.forwardUrl());
    const { data, error } = pair(client, pod.port);
    pod.onConnection((socket) => socket.end("that was all"));
    expect([await text(data), await text(error)]).toEqual(["that was all", ""]);
  });

  test("a port on which nobody listens is told on the error stream", async () => {
    const client = await connect(await site.forwardUrl());
    pod.close();
    const { error } = pair(client, pod.port);
    expect(await text(error)).toBe(`cannot connect to port ${pod.port} of pod ${"b".repeat(64)}: connection refused`);
  });

  test("an address that does not answer is passed over for the next one", async () => {
    const client = await connect(await site.forwardUrl({ addresses: ["127.0.0.9", "127.0.0.1"] }));
    const { data } = pair(client, pod.port);
    pod.onConnection((socket) => socket.end("here"));
    expect(await text(data)).toBe("here");
  });

  test("IPv6 addresses are connected to", async () => {
    const pod6 = await startPod("::1");
    const client = await connect(await site.forwardUrl({ addresses: ["::1"] }));
    pod6.onConnection((socket) => socket.end("six"));
    expect(await text(pair(client, pod6.port).data)).toBe("six");
    pod6.close();
  });

  test("many megabytes go both ways at once, unchanged", async () => {
    const client = await connect(await site.forwardUrl());
    pod.onConnection((socket) => socket.pipe(socket));
    const { data } = pair(client, pod.port);
    const hash = createHash("sha256");
    const sending = send(data, LARGE_BYTES, (piece) => hash.update(piece));
    const got = createHash("sha256");
    let bytes = 0;
    for await (const chunk of data as AsyncIterable<Buffer>) {
      got.update(chunk);
      bytes += chunk.length;
    }
    await sending;
    expect([bytes, got.digest("hex")]).toEqual([LARGE_BYTES, hash.digest("hex")]);
  });

  test("many connections share one client's connection, each for itself", async () => {
    const client = await connect(await site.forwardUrl());
    pod.onConnection((socket) => socket.pipe(socket));
    const answers = Array.from({ length: 50 }, async (_, index) => {
      const { data, error } = pair(client, pod.port, index);
      data.end(`number ${index}`);
      return [await text(data), await text(error)];
    });
    expect(await Promise.all(answers)).toEqual(answers.map((_, index) => [`number ${index}`, ""]));
  });

  test("a client that resets one connection keeps the others", async () => {
    const client = await connect(await site.forwardUrl());
    const one = pair(client, pod.port, 1);
    const first = await pod.next();
    const two = pair(client, pod.port, 2);
    const second = await pod.next();
    one.data.reset();
    await ended(first);
    second.end("still here");
    expect([await text(one.error), await text(two.data)]).toEqual(["", "still here"]);
  });

  test("a client that vanishes leaves no connection to the pod", async () => {
    const client = await connect(await site.forwardUrl());
    pair(client, pod.port);
    const socket = await pod.next();
    client.transport.destroy();
    await ended(socket);
  });

  test("when the pod stops, client and connections end", async () => {
    const client = await connect(await site.forwardUrl());
    pair(client, pod.port);
    const socket = await pod.next();
    site.end();
    await Promise.all([ended(socket), client.closed]);
  });

  test("half a pair without the other is given up in time, the connection stays", async () => {
    const client = await connect(await site.forwardUrl());
    const half = client.open({ streamType: "data", port: `${pod.port}`, requestID: "1" });
    await half.replied;
    await poll(async () => (half.isReset ? true : undefined), { what: "a reset", limitMs: 5_000, everyMs: 10 }, soon());
    pod.onConnection((socket) => socket.end("fine"));
    expect(await text(pair(client, pod.port, 2).data)).toBe("fine");
  });

  test.for([
    { streamType: "data", port: "0", requestID: "1" },
    { streamType: "data", port: "65536", requestID: "1" },
    { streamType: "data", port: "1.5", requestID: "1" },
    { streamType: "data", requestID: "1" },
    { streamType: "other", port: "80", requestID: "1" },
  ])("a stream with the headers %o is refused", async (headers) => {
    const client = await connect(await site.forwardUrl());
    const stream = client.open(headers as Record<string, string>);
    await expect(stream.replied).rejects.toThrow("closed");
    expect(stream.isReset).toBe(true);
  });

  test("a pod that does not read makes the client wait", async () => {
    const client = await connect(await site.forwardUrl());
    const { data } = pair(client, pod.port);
    const socket = await pod.next();
    socket.pause();
    let sentBytes = 0;
    const sending = send(data, 64 << 20, (piece) => (sentBytes += piece.length));
    await untilStill(() => sentBytes);
    expect(sentBytes).toBeLessThan(40 << 20); // what the system keeps for three connections, and we beside it
    socket.resume();
    await sending;
  });
});

describe("port-forward over WebSocket channels", () => {
  test.for(["v4.channel.k8s.io", "v4.base64.channel.k8s.io"])("%s: the ports of the call are joined", async (name) => {
    pod.onConnection((socket) => socket.once("data", (chunk) => socket.end(`got ${chunk.toString()}`)));
    const url = await site.forwardUrl({ ports: [pod.port] });
    const socket = new WebSocket(url.replace("http", "ws"), [name]);
    const messages: [number, Buffer][] = [];
    socket.on("message", (message: Buffer) => messages.push(decode(name, message)));
    await once(socket, "open");
    socket.send(encode(name, 0, "hello"));
    await once(socket, "close");
    const port = Buffer.alloc(2);
    port.writeUInt16LE(pod.port);
    expect(messages.slice(0, 2)).toEqual([
      [0, port],
      [1, port],
    ]);
    expect(Buffer.concat(messages.slice(2).map(([, content]) => content)).toString()).toBe("got hello");
  });

  test("a port on which nobody listens is told on its error channel", async () => {
    pod.close();
    const url = await site.forwardUrl({ ports: [pod.port] });
    const socket = new WebSocket(url.replace("http", "ws"), ["v4.channel.k8s.io"]);
    const messages: Buffer[] = [];
    socket.on("message", (message: Buffer) => messages.push(message));
    await once(socket, "close");
    expect(messages.at(-1)?.readUInt8(0)).toBe(1);
    expect(messages.at(-1)?.toString("utf8", 1)).toContain("connection refused");
  });

  test("without ports in the call it is refused", async () => {
    const url = await site.forwardUrl();
    const socket = new WebSocket(url.replace("http", "ws"), ["v4.channel.k8s.io"]);
    const [error] = (await once(socket, "error")) as [Error];
    expect(error.message).toContain("400");
  });
});

const soon = (): AbortSignal => AbortSignal.timeout(20_000);

interface Pod {
  readonly port: number;
  onConnection(handler: (socket: Socket) => void): void;
  next(): Promise<Socket>;
  close(): void;
}

async function startPod(host = "127.0.0.1"): Promise<Pod> {
  const sockets = new Set<Socket>();
  const server: Server = createServer({ allowHalfOpen: true }, (socket) => {
    sockets.add(socket);
    socket.on("error", () => {}).on("close", () => sockets.delete(socket));
  });
  server.listen(0, host);
  await once(server, "listening");
  const { port } = server.address() as { port: number };
  return {
    port,
    onConnection: (handler) => void server.on("connection", handler),
    next: async () => ((await once(server, "connection")) as [Socket])[0],
    close: () => {
      server.close();
      for (const socket of sockets) socket.destroy();
    },
  };
}

/** Nothing more comes, by whichever way. */
async function ended(socket: Socket): Promise<void> {
  await new Promise<void>((resolve) =>
    socket
      .resume()
      .on("end", resolve)
      .on("close", () => resolve()),
  );
}

/** As kubectl does: the error stream first, and ended at once. */
function pair(client: SpdyClient, port: number, requestId = 0): Pair {
  const headers = { port: `${port}`, requestID: `${requestId}` };
  const error = client.open({ ...headers, streamType: "error" });
  error.end();
  return { data: client.open({ ...headers, streamType: "data" }), error };
}

async function send(to: Duplex, bytes: number, onPiece: (piece: Buffer) => void): Promise<void> {
  for (let left = bytes, fill = 0; left > 0; fill += 1) {
    const piece = Buffer.alloc(Math.min(left, 48 << 10), fill & 0xff);
    onPiece(piece);
    left -= piece.length;
    if (!to.write(piece)) await once(to, "drain");
  }
  to.end();
}

async function untilStill(look: () => number): Promise<void> {
  let last = -1;
  const same = async (): Promise<true | undefined> => {
    const now = look();
    if (now === last) return true;
    last = now;
    return undefined;
  };
  await poll(same, { what: "standstill", limitMs: 15_000, everyMs: 400 }, soon());
}

function encode(name: string, channel: number, content: string): string | Buffer {
  const bytes = Buffer.from(content);
  return name.includes("base64") ? `${channel}${bytes.toString("base64")}` : Buffer.concat([Buffer.of(channel), bytes]);
}

function decode(name: string, message: Buffer): [number, Buffer] {
  return name.includes("base64")
    ? [message.readUInt8(0) - 48, Buffer.from(message.toString("latin1", 1), "base64")]
    : [message.readUInt8(0), message.subarray(1)];
}
