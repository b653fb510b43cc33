// From an HTTP request that wants to be something else to a session: SPDY or WebSocket, and which of their protocols.

import type { IncomingMessage } from "node:http";
import type { Duplex } from "node:stream";
import { createWebSocketStream } from "ws";
import type { StreamsWanted } from "../ports/streaming.ts";
import { refuse } from "./server.ts";
import type { CommandSession, ForwardSession, OnPair, SessionOptions } from "./session.ts";
import { COMMAND_PROTOCOLS, FORWARD_PROTOCOLS, openSpdyCommand, openSpdyForward } from "./spdy-session.ts";
import { acceptWebSocket, offeredProtocols } from "./websocket/accept.ts";
import { COMMAND_SUBPROTOCOLS, webSocketCommand } from "./websocket/command.ts";
import { FORWARD_SUBPROTOCOLS, webSocketForward } from "./websocket/forward.ts";

/** A client's first request, and the connection it came on. */
export interface Knock {
  readonly request: IncomingMessage;
  readonly socket: Duplex;
  readonly head: Buffer;
}

/** SPDY in the messages of a WebSocket, for port-forward. */
const TUNNEL = "SPDY/3.1+portforward.k8s.io";

/** Undefined when the client was refused. @throws when it does not do its part. */
export async function openCommand(
  knock: Knock,
  wanted: StreamsWanted,
  options: SessionOptions,
): Promise<CommandSession | undefined> {
  const { request, socket, head } = knock;
  switch (upgradeOf(request)) {
    case "spdy": {
      const protocol = startSpdy(knock, COMMAND_PROTOCOLS);
      return protocol === undefined ? undefined : await openSpdyCommand(socket, protocol, wanted, options);
    }
    case "websocket": {
      const name = offeredProtocols(request).find((each) => COMMAND_SUBPROTOCOLS.has(each));
      const protocol = name === undefined ? undefined : COMMAND_SUBPROTOCOLS.get(name);
      if (name === undefined || protocol === undefined) return refuseSubprotocol(socket, COMMAND_SUBPROTOCOLS.keys());
      return webSocketCommand(await acceptWebSocket(request, socket, head, name), protocol, wanted);
    }
    case "other":
      return refuse(socket, 400, "neither an upgrade to SPDY/3.1 nor to websocket");
  }
}

/** Undefined when the client was refused. `ports` are for clients that cannot name theirs. */
export async function openForward(
  knock: Knock,
  ports: readonly number[],
  onPair: OnPair,
  options: SessionOptions,
): Promise<ForwardSession | undefined> {
  const { request, socket, head } = knock;
  switch (upgradeOf(request)) {
    case "spdy":
      return startSpdy(knock, FORWARD_PROTOCOLS) === undefined ? undefined : openSpdyForward(socket, onPair, options);
    case "websocket": {
      const isKnown = (name: string): boolean => name === TUNNEL || FORWARD_SUBPROTOCOLS.has(name);
      const name = offeredProtocols(request).find(isKnown);
      const codec = name === undefined ? undefined : FORWARD_SUBPROTOCOLS.get(name);
      if (name === undefined) return refuseSubprotocol(socket, [TUNNEL, ...FORWARD_SUBPROTOCOLS.keys()]);
      if (codec === undefined) {
        const accepted = await acceptWebSocket(request, socket, head, name);
        const tunnel = createWebSocketStream(accepted, { readableHighWaterMark: 1 }); // as of WebSocketChannels
        return openSpdyForward(tunnel, onPair, options);
      }
      if (ports.length === 0)
        return refuse(socket, 400, "this protocol forwards the ports of the call, which has none");
      return webSocketForward(await acceptWebSocket(request, socket, head, name), codec, ports, onPair);
    }
    case "other":
      return refuse(socket, 400, "neither an upgrade to SPDY/3.1 nor to websocket");
  }
}

function upgradeOf({ headers }: IncomingMessage): "spdy" | "websocket" | "other" {
  const upgrade = (headers.upgrade ?? "").toLowerCase();
  if (upgrade.includes("spdy/3.1")) return "spdy";
  return upgrade === "websocket" ? "websocket" : "other";
}

/** The protocol that both speak, after the client was told so; undefined when it was refused. */
function startSpdy({ request, socket, head }: Knock, known: readonly string[]): string | undefined {
  const offered = (request.headersDistinct["x-stream-protocol-version"] ?? [])
    .flatMap((line) => line.split(","))
    .map((each) => each.trim());
  if (offered.length === 0) return refuse(socket, 400, "X-Stream-Protocol-Version is missing");
  const protocol = offered.find((each) => known.includes(each));
  if (protocol === undefined) {
    const accepted = { "X-Accepted-Stream-Protocol-Versions": known.join(", ") };
    return refuse(socket, 403, `none of the stream protocols is known: ${known.join(", ")} are`, accepted);
  }
  socket.write(
    "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: SPDY/3.1\r\n" +
      `X-Stream-Protocol-Version: ${protocol}\r\n\r\n`,
  );
  if (head.length > 0) socket.unshift(head);
  return protocol;
}

function refuseSubprotocol(socket: Duplex, known: Iterable<string>): undefined {
  const names = [...known].filter((name) => name !== "").join(", ");
  return refuse(socket, 403, `none of the subprotocols is known: ${names} are`);
}
