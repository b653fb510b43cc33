// From a socket path to a connection that takes calls.

import { connect, type Socket } from "node:net";
import { untilAborted } from "../../lib/keyed-lock.ts";
import { limitOf } from "../../lib/limit.ts";
import { Connection } from "./connection.ts";
import { gone, LibvirtFault } from "./fault.ts";
import type { KeepaliveOptions } from "./keepalive.ts";
import { type DomainEvent, procedures } from "./messages.ts";

export interface ConnectOptions {
  /** libvirtd's or virtqemud's read-write socket. */
  readonly socketPath: string;
  /** Also for virtqemud: `qemu:///system`. */
  readonly uri: string;
  /** Milliseconds that connecting may take in all. */
  readonly handshakeLimitMs: number;
  /** undefined for a connection that may be left unread, where silence means nothing. */
  readonly keepalive: KeepaliveOptions | undefined;
}

const AUTH_NONE = 0;
/** VIR_DRV_FEATURE_PROGRAM_KEEPALIVE: asking for it makes libvirtd ask us, too. */
const FEATURE_KEEPALIVE = 10;

/** @throws LibvirtFault `gone` when nobody answers, `refused` when libvirtd does not want us. */
export async function openConnection(
  options: ConnectOptions,
  onEvent: (event: DomainEvent) => void,
  signal: AbortSignal,
): Promise<Connection> {
  const { socketPath, handshakeLimitMs } = options;
  const tooLong = gone(socketPath, `no answer within ${handshakeLimitMs} ms`);
  using limit = limitOf(handshakeLimitMs, tooLong);
  const waiting = AbortSignal.any([signal, limit.signal]);
  const socket = await connectSocket(socketPath, waiting);
  const connection = new Connection(socket, socketPath, onEvent);
  try {
    await untilAborted(greet(connection, options), waiting);
    if (options.keepalive !== undefined) connection.keepAlive(options.keepalive);
    return connection;
  } catch (error) {
    connection.close();
    throw error;
  }
}

async function greet(connection: Connection, { uri, keepalive }: ConnectOptions): Promise<void> {
  const { types } = await connection.call(procedures.authList, {});
  if (types.some((type) => type !== AUTH_NONE)) {
    const fault = { kind: "refused", procedure: procedures.authList.name, code: 45, domain: 7, level: 2 } as const;
    throw new LibvirtFault(fault, `libvirtd asks for authentication (${types.join()}): run as root`);
  }
  await connection.call(procedures.connectOpen, { name: uri, flags: 0 });
  if (keepalive !== undefined) await connection.call(procedures.supportsFeature, { feature: FEATURE_KEEPALIVE });
}

async function connectSocket(socketPath: string, signal: AbortSignal): Promise<Socket> {
  signal.throwIfAborted();
  const socket = connect({ path: socketPath });
  const { promise, resolve, reject } = Promise.withResolvers<void>();
  const onError = (cause: Error): void => reject(gone(socketPath, cause.message, { cause }));
  socket.once("connect", resolve);
  socket.once("error", onError);
  try {
    await untilAborted(promise, signal);
    socket.off("error", onError);
    return socket;
  } catch (error) {
    socket.on("error", () => {}); // given up: nobody is left to hear
    socket.destroy();
    throw error;
  }
}
