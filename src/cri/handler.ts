// Between gRPC's callbacks and our functions: a signal in, an answer or one status out. Logging is here and only here.

import {
  type handleServerStreamingCall,
  type handleUnaryCall,
  Metadata,
  type ServerUnaryCall,
  type ServerWritableStream,
  status,
} from "@grpc/grpc-js";
import type { Logger } from "../ports/logger.ts";
import { statusOf } from "./grpc-status.ts";

/** Answers one request. The signal is the caller's going away. */
export type Unary<Request, Response> = (request: Request, signal: AbortSignal) => Promise<Response> | Response;

/** Answers in pieces. */
export type Streamed<Request, Response> = (
  request: Request,
  signal: AbortSignal,
) => Iterable<Response> | AsyncIterable<Response>;

/** Hears of every call. */
export interface RpcObserver {
  /** @returns to be called once it has ended, with gRPC's name for how. */
  rpcBegan(rpc: string): (code: string) => void;
}

export interface HandlerOptions {
  readonly rpc: string;
  /** Reads are asked every second: they log at debug. */
  readonly isRead: boolean;
  readonly log: Logger;
  readonly observer?: RpcObserver | undefined;
  /** Milliseconds that the call may take; absent: the caller's patience is the limit. */
  readonly limitMs?: number;
}

export function unary<Request, Response>(
  answer: Unary<Request, Response>,
  options: HandlerOptions,
): handleUnaryCall<Request, Response> {
  return (call, callback) => {
    void observed(call, options, async (signal) => {
      try {
        callback(null, await answer(call.request, signal));
      } catch (error) {
        callback(statusOf(error));
        throw error;
      }
    });
  };
}

export function streamed<Request, Response>(
  answer: Streamed<Request, Response>,
  options: HandlerOptions,
): handleServerStreamingCall<Request, Response> {
  return (call) => {
    void observed(call, options, async (signal) => {
      try {
        const pieces = answer(call.request, signal);
        call.sendMetadata(new Metadata()); // a listener knows by it that nothing from now on passes it by
        for await (const piece of pieces) {
          if (!call.write(piece)) await drained(call, signal);
        }
        call.end();
      } catch (error) {
        call.emit("error", statusOf(error));
        throw error;
      }
    });
  };
}

/** Runs one call with a signal of its own and logs how it went. Never throws. */
async function observed(
  call: Pick<ServerUnaryCall<unknown, unknown>, "on" | "cancelled">,
  { rpc, isRead, log, limitMs, observer }: HandlerOptions,
  work: (signal: AbortSignal) => Promise<void>,
): Promise<void> {
  const startedAtMs = performance.now();
  const ended = observer?.rpcBegan(rpc);
  const over = new AbortController();
  let isOver = false;
  call.on("cancelled", () => {
    if (!isOver) over.abort(new DOMException("the caller went away", "AbortError")); // grpc-js says it of every call
  });
  // Taken back with the answer: a kubelet asks several times a second, and the limits are minutes.
  const limit =
    limitMs === undefined ? undefined : setTimeout(() => over.abort(tooLate(rpc, limitMs)), limitMs).unref();
  const tookMs = (): number => Math.round(performance.now() - startedAtMs);
  try {
    await work(over.signal);
    ended?.("OK");
    log[isRead ? "debug" : "info"]("rpc answered", { rpc, tookMs: tookMs() });
  } catch (error) {
    const { code, details, isBug } = statusOf(error);
    ended?.(status[code]);
    const facts = { rpc, tookMs: tookMs(), code, details };
    if (isBug) log.error("rpc failed unforeseen", { ...facts, error });
    else log[isRead ? "debug" : "warn"]("rpc refused", facts);
  } finally {
    isOver = true;
    clearTimeout(limit);
  }
}

const tooLate = (rpc: string, limitMs: number): DOMException =>
  new DOMException(`${rpc}: no answer in ${limitMs} ms`, "TimeoutError");

async function drained(call: ServerWritableStream<unknown, unknown>, signal: AbortSignal): Promise<void> {
  const { promise, resolve, reject } = Promise.withResolvers<void>();
  const onAbort = (): void => reject(signal.reason);
  call.once("drain", resolve);
  signal.addEventListener("abort", onAbort, { once: true });
  try {
    await promise;
  } finally {
    call.off("drain", resolve);
    signal.removeEventListener("abort", onAbort);
  }
}
