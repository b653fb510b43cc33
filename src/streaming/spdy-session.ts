// Sessions over SPDY: which of a client's streams is which.

import type { Duplex } from "node:stream";
import { finished } from "node:stream/promises";
import type { StreamsWanted } from "../ports/streaming.ts";
import { encodeOutcome } from "./outcome.ts";
import { readResizes } from "./resizes.ts";
import type { CommandSession, ForwardSession, OnPair, Outcome, SessionOptions } from "./session.ts";
import { SpdyConnection } from "./spdy/connection.ts";
import type { SpdyStream } from "./spdy/stream.ts";

/** By what the kubelet prefers. Version 4 brought the status, 3 the resize channel. */
export const COMMAND_PROTOCOLS = ["v4.channel.k8s.io", "v3.channel.k8s.io", "v2.channel.k8s.io", "channel.k8s.io"];
export const FORWARD_PROTOCOLS = ["portforward.k8s.io"];

type Role = "error" | "stdin" | "stdout" | "stderr" | "resize";
/** error, stdin, stdout, stderr, resize. */
const MAX_COMMAND_STREAMS = 5;
/** Two for each connection that the client forwards. */
const MAX_FORWARD_STREAMS = 2_000;
const STATUS_PROTOCOL = "v4.channel.k8s.io";
const NO_RESIZE = ["v2.channel.k8s.io", "channel.k8s.io"];

/** Resolves when the client has opened all the streams that it asked for. @throws when it does not, in time. */
export async function openSpdyCommand(
  transport: Duplex,
  protocol: string,
  wanted: StreamsWanted,
  { creationMs }: SessionOptions,
): Promise<CommandSession> {
  const missing = rolesOf(wanted, protocol);
  const streams = new Map<Role, SpdyStream>();
  const { promise: complete, resolve, reject } = Promise.withResolvers<void>();
  const connection = new SpdyConnection(transport, {
    maxStreams: MAX_COMMAND_STREAMS,
    onStream: (stream) => {
      const role = stream.headers.get("streamtype") as Role;
      if (!missing.delete(role)) return connection.refuse(stream);
      connection.accept(stream);
      streams.set(role, stream);
      if (missing.size === 0) resolve();
    },
  });
  connection.closed.addEventListener("abort", () => reject(connection.closed.reason), { once: true });
  const timer = setTimeout(() => {
    reject(new Error(`the client did not open its streams ${[...missing].join(", ")} within ${creationMs} ms`));
    connection.close();
  }, creationMs);
  try {
    await complete;
  } finally {
    clearTimeout(timer);
  }
  return commandSession(connection, streams, protocol);
}

/** Calls `onPair` for each connection that the client forwards, until it goes. */
export function openSpdyForward(transport: Duplex, onPair: OnPair, { creationMs }: SessionOptions): ForwardSession {
  /** Halves of pairs, by request; the other half is to come. */
  const halves = new Map<string, { readonly stream: SpdyStream; readonly timer: NodeJS.Timeout }>();
  const connection = new SpdyConnection(transport, {
    maxStreams: MAX_FORWARD_STREAMS,
    onStream: (stream) => {
      const type = stream.headers.get("streamtype");
      const port = Number(stream.headers.get("port"));
      if ((type !== "data" && type !== "error") || !(port >= 1 && port <= 65_535 && Number.isInteger(port)))
        return connection.refuse(stream);
      // Clients before Kubernetes 1.2 numbered nothing: the data stream is then the one after the error stream.
      const requestId =
        stream.headers.get("requestid") ?? `${type === "error" ? stream.streamId : stream.streamId - 2}`;
      const other = halves.get(requestId);
      if (other === undefined) {
        const timer = setTimeout(() => {
          halves.delete(requestId);
          stream.destroy();
        }, creationMs);
        halves.set(requestId, { stream, timer });
        connection.accept(stream);
        return;
      }
      if (other.stream.headers.get("streamtype") === type) return connection.refuse(stream);
      clearTimeout(other.timer);
      halves.delete(requestId);
      connection.accept(stream);
      const [data, error] = type === "data" ? [stream, other.stream] : [other.stream, stream];
      onPair({ port, data, end: (message) => endPair(data, error, message) });
    },
  });
  connection.closed.addEventListener("abort", () => halves.forEach(({ timer }) => clearTimeout(timer)), { once: true });
  return { gone: connection.closed, close: () => connection.close() };
}

function rolesOf({ stdin, stdout, stderr, tty }: StreamsWanted, protocol: string): Set<Role> {
  const roles: readonly [Role, boolean][] = [
    ["error", true],
    ["stdin", stdin],
    ["stdout", stdout],
    ["stderr", stderr],
    ["resize", tty && !NO_RESIZE.includes(protocol)],
  ];
  return new Set(roles.filter(([, isWanted]) => isWanted).map(([role]) => role));
}

function commandSession(
  connection: SpdyConnection,
  streams: ReadonlyMap<Role, SpdyStream>,
  protocol: string,
): CommandSession {
  const [stdin, stdout, stderr] = [streams.get("stdin"), streams.get("stdout"), streams.get("stderr")];
  const [error, resize] = [streams.get("error"), streams.get("resize")];
  for (const stream of [stdout, stderr, error]) stream?.resume(); // clients send nothing there but the end
  return {
    streams: {
      ...(stdin === undefined ? {} : { stdin }),
      ...(stdout === undefined ? {} : { stdout }),
      ...(stderr === undefined ? {} : { stderr }),
      ...(resize === undefined ? {} : { sizes: readResizes(resize) }),
    },
    gone: connection.closed,
    finish: async (outcome: Outcome) => {
      const status = encodeOutcome(outcome, { isStatus: protocol === STATUS_PROTOCOL });
      await Promise.all([...streams.values()].filter((it) => it !== error).map(ended));
      if (status !== "") error?.write(status);
      if (error !== undefined) await ended(error);
      connection.close();
    },
  };
}

/** Resolves when all that was written is with the connection, or the stream broke. */
async function ended(stream: SpdyStream): Promise<void> {
  stream.end();
  await finished(stream, { readable: false }).catch(() => {});
}

/** The client reads the error stream to its end; what became of the data stream it learns there. */
function endPair(data: SpdyStream, error: SpdyStream, message: string | undefined): void {
  error.resume();
  if (message !== undefined) error.write(message);
  error.end(() => error.destroy());
  if (message === undefined) data.end();
  else data.destroy();
}
