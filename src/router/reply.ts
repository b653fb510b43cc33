// The answer to one call: headers, messages, a status at the end.

import { CODE, RpcError, trailersOf, valueOf } from "./grpc.ts";
import { ERROR } from "./http2/errors.ts";
import type { Headers } from "./http2/hpack.ts";
import type { Stream } from "./http2/stream.ts";

/** How it ended, for metrics; the caller has the same in its trailers. */
export class Reply {
  readonly #stream: Stream;
  #hasBegun = false;
  #code: number | undefined;

  constructor(stream: Stream) {
    this.#stream = stream;
  }

  /** gRPC's number; undefined while it has not ended. */
  get code(): number | undefined {
    return this.#code;
  }

  /** Headers of the runtime's answer, where there is one. Only the first time counts. */
  begin(headers: Headers = GRPC): void {
    if (this.#hasBegun) return;
    this.#hasBegun = true;
    this.#stream.outgoing.begin(headers);
  }

  /** Bytes of messages; resolves when the caller can take more. */
  async write(bytes: Buffer, signal: AbortSignal): Promise<void> {
    this.begin();
    this.#stream.outgoing.write(bytes);
    await this.#stream.outgoing.drained(signal).catch((error: unknown) => {
      signal.throwIfAborted();
      throw new RpcError(CODE.CANCELLED, "the caller went away", { cause: error });
    });
  }

  /** Messages in their frames, and OK. */
  succeed(...frames: readonly Buffer[]): void {
    this.begin();
    for (const one of frames) this.#stream.outgoing.write(one);
    this.end(trailersOf(CODE.OK));
  }

  /** As the runtime said it, where it was the runtime. */
  fail(error: unknown): void {
    const { code = CODE.INTERNAL, trailers = [] } = error instanceof RpcError ? error : {};
    const details = error instanceof Error ? error.message : String(error);
    this.end(valueOf(trailers, "grpc-status") === undefined ? trailersOf(code, details) : trailers);
  }

  /** Nothing of it was begun, and its caller may try it again: as if the call had never come. Only where there is no answer yet. */
  refuse(error: Error): void {
    this.#code = CODE.UNAVAILABLE;
    this.#stream.reset(ERROR.REFUSED_STREAM, error);
  }

  /** A status, in trailers, or in place of headers where there are none yet. Only the first time counts. */
  end(trailers: Headers): void {
    if (this.#code !== undefined) return;
    this.#code = Number(valueOf(trailers, "grpc-status") ?? CODE.UNKNOWN);
    const own = trailers.filter(([name]) => !name.startsWith(":") && name !== "content-type"); // of those that came alone
    if (this.#hasBegun) this.#stream.outgoing.end(own);
    else this.#stream.outgoing.begin([...GRPC, ...own], { isLast: true });
  }
}

const GRPC: Headers = [
  [":status", "200"],
  ["content-type", "application/grpc"],
];
