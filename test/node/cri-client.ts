// CRI as promises, for tests and tools: one method a RPC, each with the request and a signal.

import {
  type CallOptions,
  type Client,
  type ClientUnaryCall,
  credentials,
  Metadata,
  type ServiceError,
} from "@grpc/grpc-js";
import { ImageServiceClient, RuntimeServiceClient } from "../../src/gen/runtime.ts";

type Unary<Q, R> = (
  request: Q,
  metadata: Metadata,
  options: Partial<CallOptions>,
  callback: (error: ServiceError | null, response: R) => void,
) => ClientUnaryCall;

/** What each unary RPC of a generated client becomes. */
type Promised<C> = {
  readonly [K in keyof C as C[K] extends Unary<never, unknown> ? K : never]: C[K] extends Unary<infer Q, infer R>
    ? (request: Q, signal: AbortSignal) => Promise<R>
    : never;
};

export interface CriClient extends Disposable {
  readonly runtime: Promised<RuntimeServiceClient>;
  readonly image: Promised<ImageServiceClient>;
  /** The generated clients themselves, for streams. */
  readonly raw: { readonly runtime: RuntimeServiceClient; readonly image: ImageServiceClient };
}

/** Rejects with grpc-js's ServiceError (`code`, `details`); abort cancels the call and rejects with the reason. */
export function connectCri(socketPath: string): CriClient {
  const target = `unix://${socketPath}`;
  const options = { "grpc.max_receive_message_length": 16 << 20, "grpc.max_reconnect_backoff_ms": 500 };
  const runtime = new RuntimeServiceClient(target, credentials.createInsecure(), options);
  const image = new ImageServiceClient(target, credentials.createInsecure(), options);
  return {
    runtime: promised(runtime),
    image: promised(image),
    raw: { runtime, image },
    [Symbol.dispose]: () => {
      runtime.close();
      image.close();
    },
  };
}

function promised<C extends Client>(client: C): Promised<C> {
  return new Proxy(Object.create(null), {
    get: (_target, name) => {
      const method: unknown = Reflect.get(client, name);
      if (typeof method !== "function" || name === "then") return undefined;
      return (request: unknown, signal: AbortSignal) =>
        call(method.bind(client) as Unary<unknown, unknown>, request, signal);
    },
  }) as Promised<C>;
}

async function call<Q, R>(method: Unary<Q, R>, request: Q, signal: AbortSignal): Promise<R> {
  signal.throwIfAborted();
  const { promise, resolve, reject } = Promise.withResolvers<R>();
  const pending = method(request, new Metadata(), {}, (error, response) => {
    if (error === null) resolve(response);
    else reject(signal.aborted ? signal.reason : error);
  });
  const cancel = (): void => pending.cancel();
  signal.addEventListener("abort", cancel, { once: true });
  try {
    return await promise;
  } finally {
    signal.removeEventListener("abort", cancel);
  }
}
