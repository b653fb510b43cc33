// A call that goes to one runtime as it came, and comes back as it is: no message is opened.

import { constants, type IncomingHttpHeaders, type ServerHttp2Stream } from "node:http2";
import { pipeline } from "node:stream/promises";
import type { Backend } from "./backend.ts";
import { frame } from "./grpc.ts";
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
  const upstream = backend.open(path, metadata);
  const cancel = (): void => upstream.close(constants.NGHTTP2_CANCEL);
  signal.addEventListener("abort", cancel, { once: true });
  let status: IncomingHttpHeaders | undefined;
  upstream.on("response", (headers) => {
    if (headers["grpc-status"] === undefined) reply.begin(headers);
    else status = headers; // nothing but a status
  });
  upstream.on("trailers", (trailers) => {
    status = trailers;
  });
  try {
    if (signal.aborted) cancel();
    if (request !== undefined) upstream.end(frame(request));
    else void pipeline(stream, upstream).catch(() => {}); // whatever ends it ends the answer too
    for await (const chunk of upstream) await reply.write(chunk as Buffer, signal);
    signal.throwIfAborted();
    if (status === undefined) throw new Error("the answer ended before its status");
    reply.end(status);
  } catch (error) {
    signal.throwIfAborted();
    throw backend.unavailable(error);
  } finally {
    signal.removeEventListener("abort", cancel);
    if (!upstream.closed) cancel();
  }
}
