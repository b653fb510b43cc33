// A call that goes to one runtime as it came, and comes back as it is: no message is opened.

import type { Backend } from "./backend.ts";
import type { Exchange } from "./exchange.ts";
import { RpcError } from "./grpc.ts";
import { NotBegun } from "./http2/errors.ts";
import type { Headers } from "./http2/hpack.ts";
import type { Stream } from "./http2/stream.ts";
import type { Reply } from "./reply.ts";

export interface Call {
  readonly path: string;
  readonly metadata: Headers;
  readonly stream: Stream;
}

/**
 * `request`: what was read of the call already, all of it; absent: the caller's messages are passed on as they come.
 * @throws RpcError UNAVAILABLE where the runtime is gone before or while it answers.
 */
export async function forward(
  backend: Backend,
  { path, metadata, stream }: Call,
  request: Uint8Array | undefined,
  reply: Reply,
  signal: AbortSignal,
): Promise<void> {
  using exchange = backend.open({ path, metadata }, signal);
  if (request !== undefined) exchange.send(request);
  else void passOn(stream, exchange, signal).catch(() => {}); // whatever ends it ends the answer too
  try {
    const headers = await exchange.headers();
    if (headers !== undefined) reply.begin(headers);
  } catch (error) {
    if (request !== undefined || !(error instanceof RpcError && error.cause instanceof NotBegun)) throw error;
    return reply.refuse(error); // what the caller said is not kept, so only it can say that again
  }
  for await (const chunk of exchange.bytes()) await reply.write(chunk, signal);
  reply.end(exchange.status);
}

async function passOn({ incoming }: Stream, { outgoing }: Exchange, signal: AbortSignal): Promise<void> {
  for await (const chunk of incoming.bytes()) {
    outgoing.write(chunk);
    await outgoing.drained(signal);
  }
  outgoing.end();
}
