// A call that goes to one runtime as it came, and comes back as it is: no message is opened.

import type { IncomingHttpHeaders, ServerHttp2Stream } from "node:http2";
import { pipeline } from "node:stream/promises";
import type { Backend } from "./backend.ts";
import type { Reply } from "./reply.ts";

export interface Call {
  readonly path: string;
  readonly metadata: IncomingHttpHeaders;
  readonly stream: ServerHttp2Stream;
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
  using exchange = backend.open({ path, metadata, onHeaders: (headers) => reply.begin(headers) }, signal);
  if (request !== undefined) exchange.send(request);
  else void pipeline(stream, exchange.stream).catch(() => {}); // whatever ends it ends the answer too
  for await (const chunk of exchange.bytes()) await reply.write(chunk, signal);
  reply.end(exchange.status);
}
