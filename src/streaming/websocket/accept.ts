// The server's side of a WebSocket handshake.

import type { IncomingMessage } from "node:http";
import type { Duplex } from "node:stream";
import { type WebSocket, WebSocketServer } from "ws";

/** Go's clients send pieces of at most 32 KiB; others send what their user gave them in one message. */
const MAX_MESSAGE_BYTES = 4 << 20;
/** Pieces in which a message may arrive: each takes some 300 bytes beside its own. */
const MAX_MESSAGE_PIECES = 16 << 10;

/** What the client offers, in its order of preference; one empty name when it offers nothing. */
export function offeredProtocols({ headers }: IncomingMessage): readonly string[] {
  const offered = headers["sec-websocket-protocol"];
  return offered === undefined ? [""] : offered.split(",").map((each) => each.trim());
}

/** Resolves to a socket that speaks `protocol`. @throws when the handshake is broken: ws has then answered. */
export async function acceptWebSocket(
  request: IncomingMessage,
  socket: Duplex,
  head: Buffer,
  protocol: string,
): Promise<WebSocket> {
  const server = new WebSocketServer({
    noServer: true,
    clientTracking: false,
    perMessageDeflate: false,
    maxPayload: MAX_MESSAGE_BYTES,
    maxBufferedChunks: MAX_MESSAGE_PIECES,
  });
  // ws would refuse `SPDY/3.1+portforward.k8s.io`, because a slash is no character of a token; kubectl sends it all the same.
  delete request.headers["sec-websocket-protocol"];
  server.on("headers", (lines) => void (protocol !== "" && lines.push(`Sec-WebSocket-Protocol: ${protocol}`)));
  const { promise, resolve, reject } = Promise.withResolvers<WebSocket>();
  socket.once("close", () => reject(new Error("the WebSocket handshake failed")));
  server.handleUpgrade(request, socket, head, (accepted) => resolve(accepted));
  const accepted = await promise;
  accepted.on("error", () => {}); // "close" follows
  return accepted;
}
