// A byte stream in the messages of a WebSocket whose subprotocol has a slash in its name: no client library of Node's
// asks for such a one, Kubernetes' does.

import { randomBytes } from "node:crypto";
import { Duplex } from "node:stream";
import { upgrade } from "./spdy-client.ts";

export async function connectTunnel(
  url: string,
  subprotocol: string,
  trust: { readonly ca?: string } = {},
): Promise<Duplex> {
  const headers = {
    Upgrade: "websocket",
    "Sec-WebSocket-Version": "13",
    "Sec-WebSocket-Key": randomBytes(16).toString("base64"),
    "Sec-WebSocket-Protocol": subprotocol,
  };
  const socket = await upgrade(url, headers, trust);
  let unread = Buffer.alloc(0);
  const tunnel = new Duplex({
    read: () => socket.resume(),
    write: (chunk: Buffer, _encoding, done) => {
      socket.write(frameHeader(chunk.length));
      socket.write(chunk, done);
    },
    destroy: (error, done) => {
      socket.destroy();
      done(error);
    },
  });
  socket.on("data", (chunk: Buffer) => {
    unread = Buffer.concat([unread, chunk]);
    for (let frame = firstFrame(unread); frame !== undefined; frame = firstFrame(unread)) {
      unread = unread.subarray(frame.lengthBytes);
      if (frame.isClose) tunnel.push(null);
      else if (!tunnel.push(frame.content)) socket.pause();
    }
  });
  socket.on("error", () => {}); // "close" follows
  socket.on("close", () => tunnel.destroy());
  return tunnel;
}

/** Binary, whole, masked with a key of zeros, which changes nothing. */
export function frameHeader(length: number): Buffer {
  const header = Buffer.alloc(14);
  header.writeUInt8(0x82, 0);
  header.writeUInt8(0x80 | 127, 1);
  header.writeBigUInt64BE(BigInt(length), 2);
  return header;
}

function firstFrame(bytes: Buffer): { lengthBytes: number; content: Buffer; isClose: boolean } | undefined {
  if (bytes.length < 2) return undefined;
  const short = bytes.readUInt8(1) & 0x7f;
  const headBytes = short === 127 ? 10 : short === 126 ? 4 : 2;
  if (bytes.length < headBytes) return undefined;
  const length = short === 127 ? Number(bytes.readBigUInt64BE(2)) : short === 126 ? bytes.readUInt16BE(2) : short;
  if (bytes.length < headBytes + length) return undefined;
  return {
    lengthBytes: headBytes + length,
    content: bytes.subarray(headBytes, headBytes + length),
    isClose: (bytes.readUInt8(0) & 0x0f) === 8,
  };
}
