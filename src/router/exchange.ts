// One call to a runtime: what is sent, the bytes that come back, the status at their end.

import { CODE, frame, RpcError } from "./grpc.ts";
import { ERROR, StreamReset } from "./http2/errors.ts";
import type { Headers } from "./http2/hpack.ts";
import type { Stream } from "./http2/stream.ts";

export interface ExchangeOptions {
  /** What its caller is told when the runtime does not answer. */
  readonly unavailable: (error: unknown) => RpcError;
}

/** Abort, and disposing before its end, cancel it. */
export class Exchange implements Disposable {
  readonly stream: Stream;
  readonly #options: ExchangeOptions;
  readonly #signal: AbortSignal;
  readonly #cancel = (): void =>
    this.stream.reset(ERROR.CANCEL, this.#signal.reason ?? new Error("not wanted any more"));

  constructor(stream: Stream, options: ExchangeOptions, signal: AbortSignal) {
    this.stream = stream;
    this.#options = options;
    this.#signal = signal;
    signal.addEventListener("abort", this.#cancel, { once: true });
    if (signal.aborted) this.#cancel();
  }

  /** All that is sent. */
  send(message: Uint8Array): void {
    const { outgoing } = this.stream;
    outgoing.write(frame(message));
    outgoing.end();
  }

  /** Those of the answer; undefined where there is nothing but a status. @throws as `bytes` */
  async headers(): Promise<Headers | undefined> {
    const { incoming } = this.stream;
    await incoming.begun().catch((error: unknown) => this.#fail(error));
    return incoming.headers;
  }

  /** As they come, to their end. @throws RpcError, UNAVAILABLE where the runtime is gone before or within its answer; the signal's reason */
  async *bytes(): AsyncGenerator<Buffer, void> {
    try {
      yield* this.stream.incoming.bytes();
    } catch (error) {
      this.#fail(error);
    }
  }

  /** How it ended, once all bytes have come. @throws UNAVAILABLE where it was not said */
  get status(): Headers {
    const { trailers } = this.stream.incoming;
    if (trailers !== undefined) return trailers;
    throw this.#options.unavailable(new Error("the answer ended before its status"));
  }

  [Symbol.dispose](): void {
    this.#signal.removeEventListener("abort", this.#cancel);
    this.#cancel();
  }

  #fail(error: unknown): never {
    this.#signal.throwIfAborted();
    if (error instanceof StreamReset) {
      const code = CODE_OF_RESET.get(error.code);
      if (code !== undefined) throw new RpcError(code, error.message, { cause: error });
    }
    throw this.#options.unavailable(error);
  }
}

/** As gRPC has it (PROTOCOL-HTTP2.md): the runtime is there, and ended this call. Other resets are UNAVAILABLE. */
const CODE_OF_RESET: ReadonlyMap<number, number> = new Map([
  [ERROR.PROTOCOL_ERROR, CODE.INTERNAL],
  [ERROR.INTERNAL_ERROR, CODE.INTERNAL],
  [ERROR.CANCEL, CODE.CANCELLED],
  [ERROR.ENHANCE_YOUR_CALM, CODE.RESOURCE_EXHAUSTED],
]);
