// A call that goes to one runtime as it came, and comes back as it is: no message is opened.

import type { Backend } from "./backend.ts";
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
  else void passOn(stream, exchange.stream, signal).catch(() => {}); // whatever ends it ends the answer too
  const headers = await exchange.headers();
  if (headers !== undefined) reply.begin(headers);
  for await (const chunk of exchange.bytes()) await reply.write(chunk, signal);
  reply.end(exchange.status);
}

async function passOn({ incoming }: Stream, { outgoing }: Stream, signal: AbortSignal): Promise<void> {
  for await (const chunk of incoming.bytes()) {
    outgoing.write(chunk);
    await outgoing.drained(signal);
  }
  outgoing.end();
}
