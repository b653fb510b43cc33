// The HTTP server that clients of exec, attach and port-forward are sent to: one path a session, its token in it.

import { readFile } from "node:fs/promises";
import type { IncomingMessage, RequestListener, Server, ServerResponse } from "node:http";
import { createServer as createTlsServer } from "node:https";
import type { AddressInfo } from "node:net";
import type { Duplex } from "node:stream";
import { createServer } from "../lib/http-module.ts";
import type { Logger } from "../ports/logger.ts";
import { Door } from "./door.ts";
import type { SessionOptions } from "./session.ts";
import { Tokens } from "./tokens.ts";

export interface ListenOptions extends SessionOptions {
  /** An IP address. */
  readonly host: string;
  /** 0: any. */
  readonly port: number;
  readonly tls?: { readonly certificatePath: string; readonly keyPath: string };
}

export type SessionKind = "exec" | "attach" | "portforward";

/** What a token stands for: a path's first part, and what will be done with the client. */
interface Ticket {
  readonly kind: SessionKind;
  /** Answers the handshake, or refuses it. */
  open(request: IncomingMessage, socket: Duplex, head: Buffer): Promise<void>;
}

export interface StreamingServer extends AsyncDisposable {
  /** Where one client may open one session, once, within a minute. @throws STREAMING_BUSY */
  urlFor(ticket: Ticket): string;
}

/** Connections that are still to become sessions: for TLS's handshake, and again for the request. */
const KNOCK_LIMIT_MS = 10_000;
const MAX_HEADER_BYTES = 16 << 10;
/** Far above what one node's clients open, far below what a process may. */
const MAX_CONNECTIONS = 4_096;
/** Asked whether they still live, so that a client that vanished is noticed. */
const KEEPALIVE_MS = 30_000;
const PATH = /^\/(exec|attach|portforward)\/([A-Za-z0-9_-]{1,64})$/;

export async function listen(options: ListenOptions, log: Logger): Promise<StreamingServer> {
  const tokens = new Tokens<Ticket>(() => performance.now());
  const sockets = new Set<Duplex>();
  const door = new Door();
  const server = await createHttpServer(options, (request, response) => refusePlain(tokens, request, response));
  server.maxConnections = MAX_CONNECTIONS;
  server.on("connection", (socket) => door.enter(socket.setKeepAlive(true, KEEPALIVE_MS)));
  server.on("upgrade", (request: IncomingMessage, socket: Duplex, head: Buffer) => {
    sockets.add(socket);
    socket.on("close", () => sockets.delete(socket)).on("error", () => {});
    request.socket.setTimeout(options.idleMs, () => socket.destroy());
    door.pass(request.socket);
    void upgrade(tokens, request, socket, head, log);
  });
  await start(server, options);
  const base = baseUrl(server, options);
  return {
    urlFor: (ticket) => `${base}/${ticket.kind}/${tokens.issue(ticket)}`,
    [Symbol.asyncDispose]: async () => {
      const { promise: closed, resolve } = Promise.withResolvers<void>();
      server.close(() => resolve());
      server.closeAllConnections();
      for (const socket of sockets) socket.destroy();
      await closed;
    },
  };
}

/** Ends a handshake with an HTTP error. */
export function refuse(
  socket: Duplex,
  status: 400 | 403 | 404 | 405,
  message: string,
  headers: Readonly<Record<string, string>> = {},
): undefined {
  const lines = [
    `HTTP/1.1 ${status} ${STATUS_TEXT[status]}`,
    "Connection: close",
    "Content-Type: text/plain; charset=utf-8",
    `Content-Length: ${Buffer.byteLength(message) + 1}`,
    ...Object.entries(headers).map(([name, value]) => `${name}: ${value}`),
  ];
  socket.end(`${lines.join("\r\n")}\r\n\r\n${message}\n`, () => socket.destroy());
}

const STATUS_TEXT = { 400: "Bad Request", 403: "Forbidden", 404: "Not Found", 405: "Method Not Allowed" } as const;

async function upgrade(
  tokens: Tokens<Ticket>,
  request: IncomingMessage,
  socket: Duplex,
  head: Buffer,
  log: Logger,
): Promise<void> {
  const found = find(tokens, request);
  if ("status" in found) return refuse(socket, found.status, found.message);
  try {
    await found.open(request, socket, head);
  } catch (error) {
    // Of one client, who went away or did not keep to the protocol: nobody has to act.
    log.debug("streaming session did not come about", { kind: found.kind, error });
    socket.destroy();
  }
}

type Refusal = { readonly status: 400 | 404 | 405; readonly message: string };

/** Takes the token: it is used up whatever follows. */
function find(tokens: Tokens<Ticket>, { method, url = "" }: IncomingMessage): Ticket | Refusal {
  const [, kind, token = ""] = PATH.exec(url.split("?", 1)[0] ?? "") ?? [];
  const ticket = kind === undefined ? undefined : tokens.take(token);
  if (ticket === undefined || ticket.kind !== kind) {
    return { status: 404, message: "no such session: a URL is good once, within a minute after it was given out" };
  }
  if (method !== "GET" && method !== "POST") return { status: 405, message: "GET or POST" };
  return ticket;
}

function refusePlain(tokens: Tokens<Ticket>, request: IncomingMessage, response: ServerResponse): void {
  const found = find(tokens, request);
  const { status, message } = "status" in found ? found : { status: 400, message: "an upgrade is needed" };
  response.writeHead(status, { Connection: "close", "Content-Type": "text/plain; charset=utf-8" }).end(`${message}\n`);
}

async function createHttpServer({ tls, creationMs }: ListenOptions, onRequest: RequestListener): Promise<Server> {
  const limitMs = Math.min(KNOCK_LIMIT_MS, creationMs);
  const limits = {
    headersTimeout: limitMs,
    requestTimeout: limitMs,
    connectionsCheckingInterval: 1_000,
    maxHeaderSize: MAX_HEADER_BYTES,
  };
  if (tls === undefined) return createServer(limits, onRequest);
  const [cert, key] = await Promise.all([readFile(tls.certificatePath), readFile(tls.keyPath)]);
  return createTlsServer({ ...limits, cert, key, minVersion: "TLSv1.2", handshakeTimeout: limitMs }, onRequest);
}

async function start(server: Server, { host, port }: ListenOptions): Promise<void> {
  const { promise, resolve, reject } = Promise.withResolvers<void>();
  server.once("error", reject);
  server.listen({ host, port, exclusive: true }, resolve);
  await promise;
  server.off("error", reject);
}

function baseUrl(server: Server, { tls }: ListenOptions): string {
  const { address, port, family } = server.address() as AddressInfo;
  return `${tls === undefined ? "http" : "https"}://${family === "IPv6" ? `[${address}]` : address}:${port}`;
}
