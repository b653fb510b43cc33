// Port-forward over WebSocket: for the n-th port channel 2n carries data and 2n + 1 errors, one connection each.

import type { WebSocket } from "ws";
import type { ForwardSession, OnPair } from "../session.ts";
import { type ChannelCodec, WebSocketChannels } from "./channels.ts";

export const FORWARD_SUBPROTOCOLS: ReadonlyMap<string, ChannelCodec> = new Map([
  ["v4.channel.k8s.io", { isBase64: false, canClose: false }],
  ["v4.base64.channel.k8s.io", { isBase64: true, canClose: false }],
  ["", { isBase64: false, canClose: false }],
]);

/** The ports are those of the PortForward call: this protocol has no way to name them. */
export function webSocketForward(
  socket: WebSocket,
  codec: ChannelCodec,
  ports: readonly number[],
  onPair: OnPair,
): ForwardSession {
  const channels = new WebSocketChannels(socket, codec);
  let open = ports.length;
  ports.forEach((port, index) => {
    const [dataChannel, errorChannel] = [2 * index, 2 * index + 1];
    for (const channel of [dataChannel, errorChannel]) channels.send(channel, littleEndian16(port), () => {});
    const data = channels.open(dataChannel);
    const end = (message?: string): void => {
      const close = (): void => {
        open -= 1;
        if (open === 0) channels.close(); // the only way to say that nothing more will come
      };
      data.destroy();
      if (message === undefined) close();
      else channels.send(errorChannel, Buffer.from(message), close);
    };
    onPair({ port, data, end });
  });
  return { gone: channels.closed, close: () => channels.close() };
}

function littleEndian16(value: number): Buffer {
  const bytes = Buffer.alloc(2);
  bytes.writeUInt16LE(value);
  return bytes;
}
