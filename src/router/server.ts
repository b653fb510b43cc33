// The socket that the kubelet's runtime endpoint names: gRPC on HTTP/2, every method there is and will be.

import { createServer, type IncomingHttpHeaders, type ServerHttp2Session, type ServerHttp2Stream } from "node:http2";
import { status } from "@grpc/grpc-js";
import { listenAlone } from "../lib/socket-path.ts";
import type { Logger } from "../ports/logger.ts";
import type { Calls } from "./calls.ts";
import { Deframer, RpcError, timeoutMsOf } from "./grpc.ts";
import { routeOf } from "./methods.ts";
import { Reply } from "./reply.ts";

const WINDOW_BYTES = 1 << 20;
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
  const sessions = new Set<ServerHttp2Session>();
  const closing = new AbortController();
  const server = createServer({ settings: { initialWindowSize: WINDOW_BYTES } });
  server.on("session", (session) => {
    sessions.add(session);
    session.on("close", () => sessions.delete(session)).on("error", () => {});
    session.setLocalWindowSize(WINDOW_BYTES * 4);
  });
  server.on("stream", (stream, headers) => void serveCall(stream as ServerHttp2Stream, headers, closing.signal, parts));
  await listenAlone({ socketPath, field: "router.socketPath" }, async () => {
    const { promise, resolve, reject } = Promise.withResolvers<void>();
    server.once("error", reject).listen(socketPath, resolve);
    await promise;
  });
  return {
    async [Symbol.asyncDispose]() {
      const { promise, resolve } = Promise.withResolvers<void>();
      server.close(() => resolve()); // takes the socket away, too
      for (const session of sessions) session.close();
      const force = setTimeout(() => {
        closing.abort(new RpcError(status.UNAVAILABLE, "the router is stopping"));
        for (const session of sessions) session.destroy();
      }, DRAIN_LIMIT_MS);
      await promise;
      clearTimeout(force);
    },
  };
}

async function serveCall(
  stream: ServerHttp2Stream,
  headers: IncomingHttpHeaders,
  closing: AbortSignal,
  { calls, log, onCall }: RouterServerParts,
): Promise<void> {
  const path = String(headers[":path"]);
  const ended = onCall(path);
  const reply = new Reply(stream);
  const ending = new AbortController();
  const end = (code: number, details: string): void => ending.abort(new RpcError(code, details));
  stream.on("error", () => {}); // how it ends is told by its close
  stream.on("close", () => end(status.CANCELLED, "the caller went away"));
  const onClosing = (): void => ending.abort(closing.reason);
  closing.addEventListener("abort", onClosing);
  const timeoutMs = timeoutMsOf(headers);
  const timer =
    timeoutMs === undefined
      ? undefined
      : setTimeout(end, timeoutMs, status.DEADLINE_EXCEEDED, `the runtime did not answer within ${timeoutMs} ms`);
  const { signal } = ending;
  try {
    const route = routeOf(path);
    const call = { path, metadata: headers, stream };
    if (route === undefined) await calls.passOn(call, reply, signal);
    else await calls.answer(route, { ...call, timeoutMs, request: await readRequest(stream, signal) }, reply, signal);
  } catch (error) {
    if (!(error instanceof RpcError)) log.error("call failed", { path, error });
    reply.fail(error);
  } finally {
    clearTimeout(timer);
    closing.removeEventListener("abort", onClosing);
    ended(reply.code ?? status.CANCELLED);
  }
}

/** The one message of a call. */
async function readRequest(stream: ServerHttp2Stream, signal: AbortSignal): Promise<Uint8Array> {
  const deframer = new Deframer();
  for await (const chunk of stream.iterator({ destroyOnReturn: false })) {
    const [message] = deframer.push(chunk as Buffer);
    if (message === undefined) continue;
    stream.resume(); // nothing more is expected, and its end must be seen
    return message;
  }
  signal.throwIfAborted();
  throw new RpcError(status.INTERNAL, "the call ended before its message");
}
