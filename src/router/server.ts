// The socket that the kubelet's runtime endpoint names: gRPC on HTTP/2, every method there is and will be.

import { createServer } from "node:net";
import { untilAborted } from "../lib/keyed-lock.ts";
import { listenAlone } from "../lib/socket-path.ts";
import type { Logger } from "../ports/logger.ts";
import type { Calls } from "./calls.ts";
import { CODE, Deframer, RpcError, timeoutMsOf, valueOf } from "./grpc.ts";
import { Connection } from "./http2/connection.ts";
import type { Stream } from "./http2/stream.ts";
import { routeOf } from "./methods.ts";
import { Reply } from "./reply.ts";

/** Calls that are under way when we stop get this long: less than a second, because the kubelet waits. */
const DRAIN_LIMIT_MS = 500;

export interface RouterServerParts {
  readonly calls: Calls;
  readonly log: Logger;
  /** @returns to be called with gRPC's number for how it ended. */
  readonly onCall: (path: string) => (code: number) => void;
}

/** Serves until disposed. The socket is root's alone, as the runtimes' are. */
export async function serveRouter(socketPath: string, parts: RouterServerParts): Promise<AsyncDisposable> {
  const connections = new Set<Connection>();
  const closing = new AbortController();
  const server = createServer((socket) => {
    const connection = new Connection(socket, {
      onStream: (stream) => void serveCall(stream, closing.signal, parts),
      onClose: () => connections.delete(connection),
    });
    connections.add(connection);
  });
  await listenAlone({ socketPath, field: "router.socketPath" }, async () => {
    const { promise, resolve, reject } = Promise.withResolvers<void>();
    server.once("error", reject).listen(socketPath, resolve);
    await promise;
    const onError = (error: Error): void => parts.log.error("a connection could not be taken", { error });
    server.off("error", reject).on("error", onError); // an accept fails where no more files may be open
  });
  return {
    async [Symbol.asyncDispose]() {
      const { promise, resolve } = Promise.withResolvers<void>();
      server.close(() => resolve()); // takes the socket away, too
      for (const connection of connections) connection.goAway();
      const force = setTimeout(() => {
        const why = new RpcError(CODE.UNAVAILABLE, "the router is stopping");
        closing.abort(why);
        for (const connection of connections) connection.destroy(why);
      }, DRAIN_LIMIT_MS);
      await promise;
      clearTimeout(force);
    },
  };
}

async function serveCall(
  stream: Stream,
  closing: AbortSignal,
  { calls, log, onCall }: RouterServerParts,
): Promise<void> {
  const headers = stream.incoming.headers ?? [];
  const path = valueOf(headers, ":path") ?? "";
  const ended = onCall(path);
  const reply = new Reply(stream);
  const ending = new AbortController();
  const end = (code: number, details: string): void => ending.abort(new RpcError(code, details));
  stream.onFailure(() => end(CODE.CANCELLED, "the caller went away"));
  const onClosing = (): void => ending.abort(closing.reason);
  closing.addEventListener("abort", onClosing);
  const timeoutMs = timeoutMsOf(headers);
  const timer =
    timeoutMs === undefined
      ? undefined
      : setTimeout(end, timeoutMs, CODE.DEADLINE_EXCEEDED, `the runtime did not answer within ${timeoutMs} ms`);
  const { signal } = ending;
  try {
    const route = routeOf(path);
    const call = { path, metadata: headers, stream };
    if (route === undefined) await calls.passOn(call, reply, signal);
    else {
      const request = await untilAborted(readRequest(stream), signal);
      await calls.answer(route, { ...call, timeoutMs, request }, reply, signal);
    }
  } catch (error) {
    if (!(error instanceof RpcError)) log.error("call failed", { path, error });
    reply.fail(error);
  } finally {
    clearTimeout(timer);
    closing.removeEventListener("abort", onClosing);
    ended(reply.code ?? CODE.CANCELLED);
  }
}

/** The one message of a call. */
async function readRequest({ incoming }: Stream): Promise<Uint8Array> {
  const deframer = new Deframer();
  for await (const chunk of incoming.bytes()) {
    const [message] = deframer.push(chunk);
    if (message !== undefined) return message;
  }
  throw new RpcError(CODE.INTERNAL, "the call ended before its message");
}
