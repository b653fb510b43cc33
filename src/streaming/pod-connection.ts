// A TCP connection to a pod. What it receives is read into a few buffers that are used again and again: a gigabyte that
// passes through leaves no garbage, and memory stays flat.

import { createConnection, type Socket } from "node:net";
import type { Duplex } from "node:stream";
import { finished } from "node:stream/promises";

export interface PodAddress {
  readonly host: string;
  readonly port: number;
  /** Gets all that the pod sends, and its end. Its writes MUST be done only when their bytes were taken. */
  readonly client: Duplex;
}

export interface PodConnection {
  /** For writing; it is read already. */
  readonly socket: Socket;
  /** Settles when all that the pod sent is with the client. */
  readonly toClient: Promise<void>;
}

/** As long as Linux tries a SYN four times. */
const CONNECT_LIMIT_MS = 15_000;
/** A guest that was powered off resets nothing: silent for this long, it is asked, and asked again for some 10 s. */
const KEEPALIVE_MS = 15_000;
const BUFFER_BYTES = 64 << 10;
/** One is filled while the other is written. */
const BUFFERS = 2;

/** @throws when the pod does not answer, or says no. */
export async function connectPod({ host, port, client }: PodAddress, signal: AbortSignal): Promise<PodConnection> {
  signal.throwIfAborted();
  const buffers = Array.from({ length: BUFFERS }, () => Buffer.allocUnsafeSlow(BUFFER_BYTES));
  let turn = 0;
  let beingWritten = 0;
  const options = {
    host,
    port,
    allowHalfOpen: true,
    noDelay: true,
    writableHighWaterMark: 1, // one piece at a time waits here: Node counts bytes, and a client may send them one by one
    onread: {
      buffer: () => buffers[turn++ % BUFFERS] as Buffer,
      callback: (bytes: number, buffer: Uint8Array) => {
        beingWritten += 1;
        client.write((buffer as Buffer).subarray(0, bytes), () => {
          beingWritten -= 1; // they are done in the order in which they were read, so the next buffer is free now
          socket.resume();
        });
        return beingWritten < BUFFERS;
      },
    },
  };
  const socket: Socket = createConnection(options);
  socket.on("error", () => {}); // it may also come when nobody waits for anything any more
  const toClient = finished(socket, { writable: false }).then(async () => {
    client.end();
    await finished(client, { readable: false });
  });
  toClient.catch(() => {}); // heard by whoever gets the connection
  await connected(socket, signal);
  socket.setKeepAlive(true, KEEPALIVE_MS);
  return { socket, toClient };
}

async function connected(socket: Socket, signal: AbortSignal): Promise<void> {
  const { promise, resolve, reject } = Promise.withResolvers<void>();
  const timer = setTimeout(
    () => socket.destroy(new Error(`no answer within ${CONNECT_LIMIT_MS} ms`)),
    CONNECT_LIMIT_MS,
  );
  const give = (): void => void socket.destroy(new Error("the session is over"));
  signal.addEventListener("abort", give, { once: true });
  socket.once("connect", resolve).once("error", reject);
  try {
    await promise;
  } finally {
    clearTimeout(timer);
    signal.removeEventListener("abort", give);
  }
}
