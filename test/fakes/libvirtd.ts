// A scripted libvirtd on a unix socket: it shakes hands, answers what a test tells it to, and breaks what it is told to.

import { mkdtemp, rm } from "node:fs/promises";
import { createServer, type Server, type Socket } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import {
  type Header,
  MESSAGE_CALL,
  MESSAGE_NOTICE,
  MESSAGE_REPLY,
  MESSAGE_STREAM,
  type Packet,
  PacketReader,
  packetBytes,
  STATUS_ERROR,
  STATUS_OK,
} from "../../src/libvirt/client/framing.ts";
import {
  events,
  KEEPALIVE_PROGRAM,
  PROTOCOL_VERSION,
  type Procedure,
  procedures,
  REMOTE_PROGRAM,
  refusal,
} from "../../src/libvirt/client/messages.ts";
import { type Codec, decode, encode } from "../../src/libvirt/client/xdr.ts";

const NO_BYTES = Buffer.alloc(0);

/** One connection, as the server sees it. */
export class ServedConnection {
  readonly socket: Socket;

  constructor(socket: Socket) {
    this.socket = socket;
  }

  reply<Args, Reply>(to: Header, procedure: Procedure<Args, Reply>, reply: Reply): void {
    this.raw(packetBytes({ ...to, type: MESSAGE_REPLY, status: STATUS_OK }, encode(procedure.reply, reply)));
  }

  refuse(to: Header, code: number, message: string): void {
    const none = {
      dom: undefined,
      str1: undefined,
      str2: undefined,
      str3: undefined,
      int1: 0,
      int2: 0,
      net: undefined,
    };
    const payload = encode(refusal, { code, domain: 10, level: 2, message, ...none });
    this.raw(
      packetBytes(
        { ...to, type: to.type === MESSAGE_STREAM ? MESSAGE_STREAM : MESSAGE_REPLY, status: STATUS_ERROR },
        payload,
      ),
    );
  }

  stream(to: Header, status: number, data: Uint8Array = NO_BYTES): void {
    this.raw(packetBytes({ ...to, type: MESSAGE_STREAM, status }, data));
  }

  /** `body` as the event's layout wants it. */
  event<Body>(kind: { readonly number: number; readonly body: Codec<Body> }, body: Body): void {
    const header = { program: REMOTE_PROGRAM, version: PROTOCOL_VERSION, procedure: kind.number, serial: 0 };
    this.raw(packetBytes({ ...header, type: MESSAGE_NOTICE, status: STATUS_OK }, encode(kind.body, body)));
  }

  keepalive(procedure: number): void {
    const header = { program: KEEPALIVE_PROGRAM, version: PROTOCOL_VERSION, procedure, serial: 0 };
    this.raw(packetBytes({ ...header, type: MESSAGE_NOTICE, status: STATUS_OK }, NO_BYTES));
  }

  raw(bytes: Uint8Array): void {
    this.socket.write(bytes);
  }
}

/** What to do with a packet that is not part of the handshake. */
export type Script = (packet: Packet, connection: ServedConnection) => void;

export class FakeLibvirtd implements AsyncDisposable {
  readonly socketPath: string;
  /** All packets that came, the handshake's included. */
  readonly received: Packet[] = [];
  readonly connections = new Set<ServedConnection>();
  script: Script = () => {};
  /** Whether AUTH_LIST, CONNECT_OPEN and event registration are answered. */
  shakesHands = true;
  readonly #folderPath: string;
  #server: Server | undefined;

  private constructor(folderPath: string) {
    this.#folderPath = folderPath;
    this.socketPath = join(folderPath, "sock");
  }

  static async start(script: Script = () => {}): Promise<FakeLibvirtd> {
    const own = new FakeLibvirtd(await mkdtemp(join(tmpdir(), "vmlet-fake-libvirtd-")));
    own.script = script;
    await own.listen();
    return own;
  }

  async listen(): Promise<void> {
    const server = createServer((socket) => this.#serve(socket));
    this.#server = server;
    const { promise, resolve, reject } = Promise.withResolvers<void>();
    server.once("error", reject);
    server.listen(this.socketPath, resolve);
    await promise;
  }

  /** As a restart of libvirtd begins: no socket, no connections. */
  async stop(): Promise<void> {
    const server = this.#server;
    this.#server = undefined;
    if (server === undefined) return;
    const closed = new Promise((resolve) => server.close(resolve));
    for (const { socket } of this.connections) socket.destroy();
    await closed;
  }

  /** How often a procedure was called. */
  callsOf(procedure: { readonly number: number; readonly program: number }): number {
    return this.received.filter(
      ({ header }) =>
        header.type === MESSAGE_CALL && header.program === procedure.program && header.procedure === procedure.number,
    ).length;
  }

  /** To every connection that registered for events. */
  eachListening(send: (connection: ServedConnection) => void): void {
    for (const connection of this.#listening) send(connection);
  }

  readonly #listening = new Set<ServedConnection>();

  async [Symbol.asyncDispose](): Promise<void> {
    await this.stop();
    await rm(this.#folderPath, { recursive: true, force: true });
  }

  #serve(socket: Socket): void {
    const connection = new ServedConnection(socket);
    const packets = new PacketReader();
    this.connections.add(connection);
    socket.on("error", () => {});
    socket.on("close", () => {
      this.connections.delete(connection);
      this.#listening.delete(connection);
    });
    socket.on("data", (chunk) => {
      for (const packet of packets.push(chunk as Buffer)) {
        this.received.push(packet);
        if (!this.#shakeHands(packet, connection)) this.script(packet, connection);
      }
    });
  }

  #shakeHands({ header, payload }: Packet, connection: ServedConnection): boolean {
    if (!this.shakesHands || header.type !== MESSAGE_CALL || header.program !== REMOTE_PROGRAM) return false;
    switch (header.procedure) {
      case procedures.authList.number:
        connection.reply(header, procedures.authList, { types: [0] });
        return true;
      case procedures.connectOpen.number:
        connection.reply(header, procedures.connectOpen, {});
        return true;
      case procedures.supportsFeature.number:
        connection.reply(header, procedures.supportsFeature, { isSupported: 1 });
        return true;
      case procedures.eventRegister.number: {
        const { eventId } = decode(procedures.eventRegister.args, payload);
        if (eventId === events[0].id) this.#listening.add(connection);
        connection.reply(header, procedures.eventRegister, { callbackId: eventId });
        return true;
      }
      default:
        return false;
    }
  }
}
