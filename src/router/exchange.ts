// One call to a runtime: what is sent, the bytes that come back, the status at their end.

import { CODE, frame, RpcError } from "./grpc.ts";
import { ERROR, NotBegun, StreamReset } from "./http2/errors.ts";
import type { Headers } from "./http2/hpack.ts";
import type { Outgoing } from "./http2/outgoing.ts";
import type { Stream } from "./http2/stream.ts";

export interface ExchangeOptions {
  /** Opens its stream; a second time where the first was never begun. */
  readonly begin: () => Stream;
  /** What its caller is told when the runtime does not answer. */
  readonly unavailable: (error: unknown) => RpcError;
}

/**
 * Abort, and disposing before its end, cancel it. What the runtime never began is begun once more, as gRPC's own clients do,
 * where all of it was sent by `send`.
 */
export class Exchange implements Disposable {
  readonly #options: ExchangeOptions;
  readonly #signal: AbortSignal;
  #stream: Stream;
  /** What can still be sent again. */
  #sent: Buffer | undefined;
  readonly #cancel = (): void =>
    this.#stream.reset(ERROR.CANCEL, this.#signal.reason ?? new Error("not wanted any more"));

  constructor(options: ExchangeOptions, signal: AbortSignal) {
    this.#stream = options.begin();
    this.#options = options;
    this.#signal = signal;
    signal.addEventListener("abort", this.#cancel, { once: true });
    if (signal.aborted) this.#cancel();
  }

  /** Where messages are written that are not all there yet. */
  get outgoing(): Outgoing {
    return this.#stream.outgoing;
  }

  /** All that is sent. */
  send(message: Uint8Array): void {
    this.#sent = frame(message);
    this.#say(this.#sent);
  }

  /** Those of the answer; undefined where there is nothing but a status. @throws as `bytes` */
  async headers(): Promise<Headers | undefined> {
    for (;;) {
      const { incoming } = this.#stream;
      try {
        await incoming.begun();
        return incoming.headers;
      } catch (error) {
        this.#again(error);
      }
    }
  }

  /** As they come, to their end. @throws RpcError, UNAVAILABLE where the runtime is gone before or within its answer; the signal's reason */
  async *bytes(): AsyncGenerator<Buffer, void> {
    for (;;) {
      try {
        return yield* this.#stream.incoming.bytes();
      } catch (error) {
        this.#again(error);
      }
    }
  }

  /** How it ended, once all bytes have come. @throws UNAVAILABLE where it was not said */
  get status(): Headers {
    const { trailers } = this.#stream.incoming;
    if (trailers !== undefined) return trailers;
    throw this.#options.unavailable(new Error("the answer ended before its status"));
  }

  [Symbol.dispose](): void {
    this.#signal.removeEventListener("abort", this.#cancel);
    this.#cancel();
  }

  /** Begins it once more where that is right. @throws RpcError where it is not; the signal's reason */
  #again(error: unknown): void {
    this.#signal.throwIfAborted();
    const sent = this.#sent;
    this.#sent = undefined;
    if (!(error instanceof NotBegun) || sent === undefined || this.#stream.incoming.headers !== undefined)
      return this.#fail(error);
    this.#stream = this.#options.begin();
    this.#say(sent);
  }

  #say(message: Buffer): void {
    const { outgoing } = this.#stream;
    outgoing.write(message);
    outgoing.end();
  }

  #fail(error: unknown): never {
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
