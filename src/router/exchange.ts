// One call to a runtime: what is sent, the bytes that come back, the status at their end.

import { type ClientHttp2Stream, constants, type IncomingHttpHeaders } from "node:http2";
import { frame, type RpcError } from "./grpc.ts";

export interface ExchangeOptions {
  /** Hears the headers that come before an answer's bytes; an answer without bytes has none. */
  readonly onHeaders?: ((headers: IncomingHttpHeaders) => void) | undefined;
  /** What its caller is told when the runtime does not answer. */
  readonly unavailable: (error: unknown) => RpcError;
}

/** Abort, and disposing before its end, cancel it. */
export class Exchange implements Disposable {
  readonly stream: ClientHttp2Stream;
  readonly #options: ExchangeOptions;
  readonly #signal: AbortSignal;
  readonly #cancel = (): void => this.stream.close(constants.NGHTTP2_CANCEL);
  #status: IncomingHttpHeaders | undefined;

  constructor(stream: ClientHttp2Stream, options: ExchangeOptions, signal: AbortSignal) {
    this.stream = stream;
    this.#options = options;
    this.#signal = signal;
    stream.on("error", () => {}); // whoever reads it gets it; nobody may be reading any more
    stream.on("response", (headers) => {
      if (headers["grpc-status"] === undefined) options.onHeaders?.(headers);
      else this.#status = headers; // nothing but a status
    });
    stream.on("trailers", (trailers) => {
      this.#status = trailers;
    });
    signal.addEventListener("abort", this.#cancel, { once: true });
    if (signal.aborted) this.#cancel();
  }

  /** All that is sent. */
  send(message: Uint8Array): void {
    this.stream.end(frame(message));
  }

  /** As they come, to their end. @throws UNAVAILABLE where the runtime is gone before or within its answer; the signal's reason */
  async *bytes(): AsyncGenerator<Buffer, void> {
    try {
      for await (const chunk of this.stream) yield chunk as Buffer;
    } catch (error) {
      this.#signal.throwIfAborted();
      throw this.#options.unavailable(error);
    }
    this.#signal.throwIfAborted();
  }

  /** How it ended, once all bytes have come. @throws UNAVAILABLE where it was not said */
  get status(): IncomingHttpHeaders {
    if (this.#status !== undefined) return this.#status;
    throw this.#options.unavailable(new Error("the answer ended before its status"));
  }

  [Symbol.dispose](): void {
    this.#signal.removeEventListener("abort", this.#cancel);
    if (!this.stream.closed) this.#cancel();
  }
}
