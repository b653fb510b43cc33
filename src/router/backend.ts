// One runtime behind the router: an HTTP/2 connection to its socket that is made when it is needed, and again.

import {
  type ClientHttp2Session,
  connect,
  constants,
  type IncomingHttpHeaders,
  type OutgoingHttpHeaders,
} from "node:http2";
import { createConnection } from "node:net";
import { status } from "@grpc/grpc-js";
import { Exchange, type ExchangeOptions } from "./exchange.ts";
import { Deframer, RpcError, statusOf } from "./grpc.ts";

const WINDOW_BYTES = 1 << 20;

export interface Opening extends Pick<ExchangeOptions, "onHeaders"> {
  readonly path: string;
  /** The caller's headers. */
  readonly metadata: IncomingHttpHeaders;
}

export class Backend implements Disposable {
  readonly name: string;
  readonly socketPath: string;
  #session: ClientHttp2Session | undefined;

  constructor(name: string, socketPath: string) {
    this.name = name;
    this.socketPath = socketPath;
  }

  open({ path, metadata, onHeaders }: Opening, signal: AbortSignal): Exchange {
    const stream = this.#connected().request(headersFor(path, metadata), { endStream: false });
    return new Exchange(stream, { onHeaders, unavailable: (error) => this.unavailable(error) }, signal);
  }

  /** A call with one message, answered by messages. @throws RpcError, UNAVAILABLE where nobody is there. */
  async *stream(
    path: string,
    request: Uint8Array,
    metadata: IncomingHttpHeaders,
    signal: AbortSignal,
  ): AsyncGenerator<Buffer> {
    using exchange = this.open({ path, metadata }, signal);
    exchange.send(request);
    const deframer = new Deframer();
    for await (const chunk of exchange.bytes()) yield* deframer.push(chunk);
    const { code, details } = statusOf(exchange.status);
    if (deframer.isMidMessage) throw this.unavailable(new Error("the answer ended within a message"));
    if (code !== status.OK) throw new RpcError(code, details);
  }

  /** What a caller is told when this runtime does not answer. */
  unavailable(error: unknown): RpcError {
    const text = `${this.name} runtime at ${this.socketPath} does not answer: ${rootOf(error)}`;
    return new RpcError(status.UNAVAILABLE, text, { cause: error });
  }

  [Symbol.dispose](): void {
    this.#session?.destroy();
    this.#session = undefined;
  }

  #connected(): ClientHttp2Session {
    if (this.#session !== undefined && !this.#session.closed && !this.#session.destroyed) return this.#session;
    const session = connect("http://localhost", {
      createConnection: () => createConnection(this.socketPath),
      settings: { initialWindowSize: WINDOW_BYTES, enablePush: false },
      peerMaxConcurrentStreams: 2 ** 31 - 1,
    });
    const forget = (): void => {
      if (this.#session === session) this.#session = undefined;
    };
    session.on("connect", () => session.setLocalWindowSize(WINDOW_BYTES * 4));
    session.on("error", forget).on("goaway", forget).on("close", forget); // the streams tell their callers
    this.#session = session;
    return session;
  }
}

/** The caller's metadata without what is between us and the caller alone. */
function headersFor(path: string, metadata: IncomingHttpHeaders): OutgoingHttpHeaders {
  const headers: OutgoingHttpHeaders = {};
  for (const [name, value] of Object.entries(metadata))
    if (!name.startsWith(":") && !BETWEEN_US.has(name)) headers[name] = value;
  headers["content-type"] ??= "application/grpc";
  return {
    ...headers,
    te: "trailers",
    [constants.HTTP2_HEADER_METHOD]: "POST",
    [constants.HTTP2_HEADER_PATH]: path,
    [constants.HTTP2_HEADER_AUTHORITY]: "localhost",
  };
}

// Answers are looked into, so they must not be compressed.
const BETWEEN_US = new Set(["grpc-accept-encoding", "accept-encoding", "te", "host", "connection"]);

function rootOf(error: unknown): string {
  let root = error;
  while (root instanceof Error && root.cause instanceof Error) root = root.cause;
  return root instanceof Error ? root.message : String(root);
}
