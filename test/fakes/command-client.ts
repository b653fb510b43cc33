// A client of exec and attach, over each of the protocols that there are.

import type { Duplex, Readable, Writable } from "node:stream";
import { Duplex as NodeDuplex } from "node:stream";
import WebSocket from "ws";
import type { StreamsWanted } from "../../src/ports/streaming.ts";
import { SpdyClient } from "./spdy-client.ts";

export interface CommandClient {
  readonly stdin: Writable;
  readonly stdout: Readable;
  readonly stderr: Readable;
  /** What came on the error channel, to its end. */
  readonly status: Promise<string>;
  readonly closed: Promise<unknown>;
  resize(columns: number, rows: number): void;
  /** As a client whose process is killed. */
  vanish(): void;
}

export interface Transport {
  readonly name: string;
  readonly isStatus: boolean;
  /** Whether it can say that stdin has ended. */
  readonly canEndStdin: boolean;
  connect(url: string, wanted: StreamsWanted): Promise<CommandClient>;
}

const spdy = (protocol: string, isStatus: boolean): Transport => ({
  name: `SPDY ${protocol}`,
  isStatus,
  canEndStdin: true,
  connect: (url, wanted) => connectSpdy(url, protocol, wanted),
});

const webSocket = (protocol: string, facts: Pick<Transport, "isStatus" | "canEndStdin">): Transport => ({
  name: `WebSocket ${protocol === "" ? "without a subprotocol" : protocol}`,
  ...facts,
  connect: (url, wanted) => connectWebSocket(url, protocol, wanted),
});

export const TRANSPORTS: readonly Transport[] = [
  spdy("v4.channel.k8s.io", true),
  spdy("v3.channel.k8s.io", false),
  webSocket("v5.channel.k8s.io", { isStatus: true, canEndStdin: true }),
  webSocket("v4.channel.k8s.io", { isStatus: true, canEndStdin: false }),
  webSocket("v4.base64.channel.k8s.io", { isStatus: true, canEndStdin: false }),
  webSocket("base64.channel.k8s.io", { isStatus: false, canEndStdin: false }),
  webSocket("", { isStatus: false, canEndStdin: false }),
];

async function connectSpdy(url: string, protocol: string, wanted: StreamsWanted): Promise<CommandClient> {
  const client = await SpdyClient.connect(url, protocol);
  const open = (streamType: string, isWanted: boolean): Duplex =>
    isWanted ? client.open({ streamType }) : new NodeDuplex({ read() {}, write: (_c, _e, done) => done() });
  const error = open("error", true);
  const stdin = open("stdin", wanted.stdin);
  const stdout = open("stdout", wanted.stdout);
  const stderr = open("stderr", wanted.stderr);
  const resize = open("resize", wanted.tty);
  return {
    stdin,
    stdout,
    stderr,
    status: textOf(error),
    closed: client.closed,
    resize: (columns, rows) => void resize.write(sizeMessage(columns, rows)),
    vanish: () => void client.transport.destroy(),
  };
}

async function connectWebSocket(url: string, protocol: string, wanted: StreamsWanted): Promise<CommandClient> {
  const socket = new WebSocket(url.replace(/^http/, "ws"), protocol === "" ? [] : [protocol]);
  const isBase64 = protocol.includes("base64");
  const channels = [0, 1, 2, 3, 4].map((number) => channelOf(socket, number, { isBase64, protocol }));
  const { promise: open, resolve, reject } = Promise.withResolvers<void>();
  const closed = new Promise((resolve) => socket.on("close", resolve));
  socket.on("open", resolve).on("error", reject);
  socket.on("message", (message: Buffer) => {
    const number = isBase64 ? Number(String.fromCharCode(message.readUInt8(0))) : message.readUInt8(0);
    const content = isBase64 ? Buffer.from(message.toString("latin1", 1), "base64") : message.subarray(1);
    const hasRoom = content.length === 0 || channels[number]?.push(content);
    if (!hasRoom) socket.pause();
  });
  socket.on("close", () => channels.forEach((channel) => channel.push(null)));
  await open;
  const [stdin, stdout, stderr, error, resize] = channels as [Duplex, Duplex, Duplex, Duplex, Duplex];
  if (!wanted.stdin) stdin.resume();
  return {
    stdin,
    stdout,
    stderr,
    status: textOf(error),
    closed,
    resize: (columns, rows) => void resize.write(sizeMessage(columns, rows)),
    vanish: () => socket.terminate(),
  };
}

function channelOf(
  socket: WebSocket,
  number: number,
  { isBase64, protocol }: { isBase64: boolean; protocol: string },
): Duplex {
  return new NodeDuplex({
    read: () => socket.resume(),
    write: (chunk: Buffer, _encoding, done) => {
      if (isBase64) socket.send(`${number}${chunk.toString("base64")}`, done);
      else socket.send(Buffer.concat([Buffer.of(number), chunk]), done);
    },
    final: (done) => {
      if (protocol === "v5.channel.k8s.io") socket.send(Buffer.of(255, number), done);
      else done();
    },
  }).on("error", () => {});
}

function sizeMessage(columns: number, rows: number): string {
  return `${JSON.stringify({ Width: columns, Height: rows })}\n`;
}

async function textOf(stream: Readable): Promise<string> {
  const chunks: Buffer[] = [];
  try {
    for await (const chunk of stream as AsyncIterable<Buffer>) chunks.push(chunk);
  } catch {
    // Ended by the connection's end.
  }
  return Buffer.concat(chunks).toString("utf8");
}
