// One runtime behind the router: an HTTP/2 connection to its socket that is made when it is needed, and again.

import {
  type ClientHttp2Session,
  type ClientHttp2Stream,
  connect,
  constants,
  type IncomingHttpHeaders,
  type OutgoingHttpHeaders,
} from "node:http2";
import { createConnection } from "node:net";
import { CODE, Deframer, frame, RpcError, statusOf } from "./grpc.ts";

const WINDOW_BYTES = 1 << 20;

export class Backend implements Disposable {
  readonly name: string;
  readonly socketPath: string;
  #session: ClientHttp2Session | undefined;

  constructor(name: string, socketPath: string) {
    this.name = name;
    this.socketPath = socketPath;
  }

  /** Opens a call; what goes wrong with the connection is the stream's error. `metadata` is the caller's headers. */
  open(path: string, metadata: IncomingHttpHeaders): ClientHttp2Stream {
    const stream = this.#connected().request(headersFor(path, metadata), { endStream: false });
    return stream.on("error", () => {}); // whoever reads it gets it; nobody may be reading any more
  }

  /** A call with one message, answered by messages. @throws RpcError, UNAVAILABLE where nobody is there. */
  async *stream(
    path: string,
    request: Uint8Array,
    metadata: IncomingHttpHeaders,
    signal: AbortSignal,
  ): AsyncGenerator<Buffer> {
    const stream = this.open(path, metadata);
    const cancel = (): void => stream.close(constants.NGHTTP2_CANCEL);
    signal.addEventListener("abort", cancel, { once: true });
    let ended: IncomingHttpHeaders | undefined;
    const note = (headers: IncomingHttpHeaders): void => {
      if (headers["grpc-status"] !== undefined) ended = headers;
    };
    stream.on("response", note).on("trailers", note);
    try {
      if (signal.aborted) cancel();
      stream.end(frame(request));
      const deframer = new Deframer();
      for await (const chunk of stream) yield* deframer.push(chunk as Buffer);
      signal.throwIfAborted();
      if (ended === undefined || deframer.isMidMessage) throw new Error("the answer ended before its status");
      const { code, details } = statusOf(ended);
      if (code !== CODE.OK) throw new RpcError(code, details);
    } catch (error) {
      signal.throwIfAborted();
      throw error instanceof RpcError ? error : this.unavailable(error);
    } finally {
      signal.removeEventListener("abort", cancel);
      cancel();
    }
  }

  /** What a caller is told when this runtime does not answer. */
  unavailable(error: unknown): RpcError {
    const text = `${this.name} runtime at ${this.socketPath} does not answer: ${rootOf(error)}`;
    return new RpcError(CODE.UNAVAILABLE, text, { cause: error });
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
