// One runtime behind the router: an HTTP/2 connection to its socket that is made when it is needed, and again.

import { createConnection } from "node:net";
import { Exchange } from "./exchange.ts";
import { CODE, Deframer, RpcError, statusOf } from "./grpc.ts";
import { Connection } from "./http2/connection.ts";
import type { Headers } from "./http2/hpack.ts";
import type { Header } from "./http2/static-headers.ts";
import type { Stream } from "./http2/stream.ts";

export interface Opening {
  readonly path: string;
  /** The caller's headers. */
  readonly metadata: Headers;
}

export class Backend implements Disposable {
  readonly name: string;
  readonly socketPath: string;
  #connection: Connection | undefined;

  constructor(name: string, socketPath: string) {
    this.name = name;
    this.socketPath = socketPath;
  }

  open({ path, metadata }: Opening, signal: AbortSignal): Exchange {
    const headers = headersFor(path, metadata);
    const options = { begin: () => this.#begin(headers), unavailable: (error: unknown) => this.unavailable(error) };
    return new Exchange(options, signal);
  }

  /** A call with one message, answered by messages. @throws RpcError, UNAVAILABLE where nobody is there. */
  async *stream(path: string, request: Uint8Array, metadata: Headers, signal: AbortSignal): AsyncGenerator<Buffer> {
    using exchange = this.open({ path, metadata }, signal);
    exchange.send(request);
    const deframer = new Deframer();
    for await (const chunk of exchange.bytes()) yield* deframer.push(chunk);
    const trailers = exchange.status;
    const { code, details } = statusOf(trailers);
    if (deframer.isMidMessage) throw this.unavailable(new Error("the answer ended within a message"));
    if (code !== CODE.OK) throw new RpcError(code, details, { trailers });
  }

  /** What a caller is told when this runtime does not answer. */
  unavailable(error: unknown): RpcError {
    const text = `${this.name} runtime at ${this.socketPath} does not answer: ${rootOf(error)}`;
    return new RpcError(CODE.UNAVAILABLE, text, { cause: error });
  }

  [Symbol.dispose](): void {
    this.#connection?.[Symbol.dispose]();
    this.#connection = undefined;
  }

  #begin(headers: Headers): Stream {
    if (this.#connection?.isUsable !== true) {
      const last = this.#connection;
      last?.goAway(); // it may be full, and ends with its last call
      this.#connection = new Connection(createConnection(this.socketPath), { maxStreams: last?.maxStreams });
    }
    return this.#connection.open(headers);
  }
}

/** The caller's metadata without what is between us and the caller alone. */
function headersFor(path: string, metadata: Headers): Headers {
  const own = metadata.filter(([name]) => !name.startsWith(":") && !BETWEEN_US.has(name));
  return [
    [":method", "POST"],
    [":scheme", "http"],
    [":path", path],
    [":authority", "localhost"],
    ["te", "trailers"],
    ...(own.some(([name]) => name === "content-type") ? [] : [CONTENT_TYPE]),
    ...own,
  ];
}

const CONTENT_TYPE: Header = ["content-type", "application/grpc"];

// Answers are looked into, so they must not be compressed.
const BETWEEN_US = new Set(["grpc-accept-encoding", "accept-encoding", "te", "host", "connection"]);

function rootOf(error: unknown): string {
  let root = error;
  while (root instanceof Error && root.cause instanceof Error) root = root.cause;
  return root instanceof Error ? root.message : String(root);
}
