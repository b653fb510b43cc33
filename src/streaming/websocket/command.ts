// Exec and attach over WebSocket: channels 0 stdin, 1 stdout, 2 stderr, 3 error, 4 resize.

import type { Writable } from "node:stream";
import { finished } from "node:stream/promises";
import type { WebSocket } from "ws";
import type { StreamsWanted } from "../../ports/streaming.ts";
import { encodeOutcome } from "../outcome.ts";
import { readResizes } from "../resizes.ts";
import type { CommandSession, Outcome } from "../session.ts";
import { type ChannelCodec, WebSocketChannels } from "./channels.ts";

const CHANNEL = { stdin: 0, stdout: 1, stderr: 2, error: 3, resize: 4 } as const;

interface Protocol extends ChannelCodec {
  /** The error channel has a metav1.Status. */
  readonly isStatus: boolean;
}

const plain: Protocol = { isBase64: false, canClose: false, isStatus: false };

/** By subprotocol; the empty one is what a client gets that asks for none. */
export const COMMAND_SUBPROTOCOLS: ReadonlyMap<string, Protocol> = new Map([
  ["v5.channel.k8s.io", { ...plain, isStatus: true, canClose: true }],
  ["v4.channel.k8s.io", { ...plain, isStatus: true }],
  ["v4.base64.channel.k8s.io", { ...plain, isStatus: true, isBase64: true }],
  ["channel.k8s.io", plain],
  ["base64.channel.k8s.io", { ...plain, isBase64: true }],
  ["", plain],
]);

export function webSocketCommand(socket: WebSocket, protocol: Protocol, wanted: StreamsWanted): CommandSession {
  const channels = new WebSocketChannels(socket, protocol);
  const stdin = wanted.stdin ? channels.open(CHANNEL.stdin) : undefined;
  const stdout = wanted.stdout ? channels.writable(CHANNEL.stdout) : undefined;
  const stderr = wanted.stderr ? channels.writable(CHANNEL.stderr) : undefined;
  const error = channels.writable(CHANNEL.error);
  const sizes = wanted.tty ? readResizes(channels.open(CHANNEL.resize)) : undefined;
  // Tells the client that it is connected, on the first channel that it listens to.
  const greeted = wanted.stdout ? CHANNEL.stdout : wanted.stderr ? CHANNEL.stderr : CHANNEL.error;
  channels.send(greeted, Buffer.alloc(0), () => {});
  return {
    streams: {
      ...(stdin === undefined ? {} : { stdin }),
      ...(stdout === undefined ? {} : { stdout }),
      ...(stderr === undefined ? {} : { stderr }),
      ...(sizes === undefined ? {} : { sizes }),
    },
    gone: channels.closed,
    finish: async (outcome: Outcome) => {
      await Promise.all([stdout, stderr].map(ended));
      const status = encodeOutcome(outcome, protocol);
      if (status !== "") error.write(status);
      await ended(error);
      channels.close();
    },
  };
}

async function ended(stream: Writable | undefined): Promise<void> {
  if (stream === undefined) return;
  stream.end();
  await finished(stream).catch(() => {}); // the client is gone
}
