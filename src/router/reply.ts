// The answer to one call: headers, messages, a status at the end.

import { once } from "node:events";
import { constants, type IncomingHttpHeaders, type OutgoingHttpHeaders, type ServerHttp2Stream } from "node:http2";
import { status } from "@grpc/grpc-js";
import { frame, RpcError, trailersOf } from "./grpc.ts";

/** How it ended, for metrics; the caller has the same in its trailers. */
export class Reply {
  readonly #stream: ServerHttp2Stream;
  #trailers: OutgoingHttpHeaders = trailersOf(status.INTERNAL, "the router ended the call without a status");
  #code: number | undefined;

  constructor(stream: ServerHttp2Stream) {
    this.#stream = stream;
    stream.on("wantTrailers", () => stream.sendTrailers(this.#trailers));
  }

  /** gRPC's number; undefined while it has not ended. */
  get code(): number | undefined {
    return this.#code;
  }

  /** Headers of the runtime's answer, where there is one. Only the first time counts. */
  begin(headers: IncomingHttpHeaders = {}): void {
    if (this.#stream.headersSent || this.#stream.destroyed) return;
    this.#stream.respond({ ...withoutPseudo(headers), ...GRPC }, { waitForTrailers: true });
  }

  /** Bytes of messages; resolves when the caller can take more. */
  async write(bytes: Uint8Array, signal: AbortSignal): Promise<void> {
    this.begin();
    if (this.#stream.destroyed || this.#stream.write(bytes)) return;
    await once(this.#stream, "drain", { signal }).catch((error: unknown) => {
      signal.throwIfAborted();
      throw new RpcError(status.CANCELLED, "the caller went away", { cause: error });
    });
  }

  /** One or more messages and OK. */
  succeed(messages: readonly Uint8Array[]): void {
    this.begin();
    for (const message of messages) this.#stream.write(frame(message));
    this.end(trailersOf(status.OK));
  }

  fail(error: unknown): void {
    const known = error instanceof RpcError ? error : undefined;
    const details = error instanceof Error ? error.message : String(error);
    this.end(trailersOf(known?.code ?? status.INTERNAL, details));
  }

  /** A status, in trailers, or in place of headers where there are none yet. Only the first time counts. */
  end(trailers: IncomingHttpHeaders | OutgoingHttpHeaders): void {
    if (this.#code !== undefined) return;
    this.#code = Number(trailers["grpc-status"] ?? status.UNKNOWN);
    this.#trailers = withoutPseudo(trailers);
    if (this.#stream.destroyed) return;
    if (this.#stream.headersSent) this.#stream.end();
    else this.#stream.respond({ ...this.#trailers, ...GRPC }, { endStream: true });
  }
}

const GRPC = { [constants.HTTP2_HEADER_STATUS]: 200, "content-type": "application/grpc" };

function withoutPseudo(headers: IncomingHttpHeaders | OutgoingHttpHeaders): OutgoingHttpHeaders {
  return Object.fromEntries(Object.entries(headers).filter(([name]) => !name.startsWith(":")));
}
