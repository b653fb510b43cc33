// One socket to libvirtd: serials, answers, events, streams and keepalive over it, until it dies.

import type { Socket } from "node:net";
import { garbled, gone, LibvirtFault } from "./fault.ts";
import {
  MESSAGE_CALL,
  MESSAGE_NOTICE,
  MESSAGE_REPLY,
  MESSAGE_STREAM,
  type Packet,
  PacketReader,
  packetBytes,
  STATUS_CONTINUE,
  STATUS_ERROR,
  STATUS_OK,
} from "./framing.ts";
import { Keepalive, type KeepaliveOptions } from "./keepalive.ts";
import {
  type DomainEvent,
  events,
  KEEPALIVE_PING,
  KEEPALIVE_PONG,
  KEEPALIVE_PROGRAM,
  PROTOCOL_VERSION,
  type Procedure,
  REMOTE_PROGRAM,
  refusal,
} from "./messages.ts";
import { LibvirtStream } from "./stream.ts";
import { decode, encode } from "./xdr.ts";

interface Pending {
  readonly name: string;
  readonly program: number;
  readonly number: number;
  take(payload: Buffer): void;
  fail(fault: LibvirtFault): void;
}

const PARTING_MS = 1_000;
const NO_BYTES = Buffer.alloc(0);

/**
 * INVARIANTS: every call settles: by its reply, or as `gone` when the connection dies. Once dead, always dead. A packet
 * that is not the protocol kills the connection; a reply that does not fit its layout fails its call only.
 */
export class Connection {
  /** Resolves, never rejects, with why it died. */
  readonly closed: Promise<LibvirtFault>;
  readonly #socket: Socket;
  readonly #socketPath: string;
  readonly #onEvent: (event: DomainEvent) => void;
  readonly #packets = new PacketReader();
  readonly #pending = new Map<number, Pending>();
  readonly #streams = new Map<number, LibvirtStream>();
  readonly #resolveClosed: (fault: LibvirtFault) => void;
  #keepalive: Keepalive | undefined;
  #death: LibvirtFault | undefined;
  #lastSerial = 0;

  /** `socket` is connected. */
  constructor(socket: Socket, socketPath: string, onEvent: (event: DomainEvent) => void) {
    const { promise, resolve } = Promise.withResolvers<LibvirtFault>();
    this.closed = promise;
    this.#resolveClosed = resolve;
    this.#socket = socket;
    this.#socketPath = socketPath;
    this.#onEvent = onEvent;
    socket.on("data", (chunk: Buffer) => this.#receive(chunk));
    socket.on("error", (cause) => this.#die(gone(socketPath, "connection broke", { cause })));
    socket.on("close", () => this.#die(gone(socketPath, "connection closed by the other side")));
  }

  get isDead(): boolean {
    return this.#death !== undefined;
  }

  /**
   * Sends at once and settles with the answer, however late. Who does not want to wait stops waiting: the answer is
   * then dropped.
   */
  call<Args, Reply>(procedure: Procedure<Args, Reply>, args: Args): Promise<Reply> {
    return this.#send(procedure, args, this.#nextSerial());
  }

  /** Calls a procedure that opens a stream. The stream owns the connection from here on. */
  async openStream<Args>(procedure: Procedure<Args, unknown>, args: Args): Promise<LibvirtStream> {
    const serial = this.#nextSerial();
    const stream = new LibvirtStream({
      sendData: (bytes, done) => this.#write(this.#streamPacket(procedure, serial, STATUS_CONTINUE, bytes), done),
      sendFinish: () => this.#write(this.#streamPacket(procedure, serial, STATUS_OK, NO_BYTES)),
      sendAbort: () => this.#write(this.#streamPacket(procedure, serial, STATUS_ERROR, NO_BYTES)),
      pause: () => this.#socket.pause(),
      resume: () => this.#socket.resume(),
      faultOf: ({ payload }) => refusedBy(procedure.name, payload),
    });
    stream.once("close", () => this.close());
    this.#streams.set(serial, stream); // before the call: data may come with the reply
    try {
      await this.#send(procedure, args, serial);
      if (stream.errored) throw stream.errored;
    } catch (error) {
      this.#streams.delete(serial);
      stream.destroy();
      throw error;
    }
    return stream;
  }

  keepAlive(options: KeepaliveOptions): void {
    if (this.isDead) return;
    this.#keepalive = new Keepalive(options, {
      ping: () => this.#sendKeepalive(KEEPALIVE_PING),
      dead: () => this.#die(gone(this.#socketPath, "does not answer any more (keepalive)")),
    });
  }

  close(): void {
    this.#die(gone(this.#socketPath, "connection closed by us"));
  }

  #nextSerial(): number {
    this.#lastSerial = this.#lastSerial === 0xffffffff ? 1 : this.#lastSerial + 1;
    return this.#lastSerial;
  }

  #send<Args, Reply>(procedure: Procedure<Args, Reply>, args: Args, serial: number): Promise<Reply> {
    if (this.#death !== undefined) return Promise.reject(this.#death);
    const { promise, resolve, reject } = Promise.withResolvers<Reply>();
    const { name, program, number } = procedure;
    try {
      const header = { program, version: PROTOCOL_VERSION, procedure: number, type: MESSAGE_CALL, serial, status: 0 };
      const bytes = packetBytes(header, encode(procedure.args, args));
      this.#pending.set(serial, {
        name,
        program,
        number,
        take: (payload) => resolve(decode(procedure.reply, payload)),
        fail: reject,
      });
      this.#write(bytes);
    } catch (error) {
      reject(error);
    }
    return promise;
  }

  #streamPacket(procedure: { program: number; number: number }, serial: number, status: number, data: Uint8Array) {
    const { program, number } = procedure;
    const header = { program, version: PROTOCOL_VERSION, procedure: number, type: MESSAGE_STREAM, serial, status };
    return packetBytes(header, data);
  }

  #sendKeepalive(procedure: number): void {
    const header = { program: KEEPALIVE_PROGRAM, version: PROTOCOL_VERSION, procedure, type: MESSAGE_NOTICE };
    this.#write(packetBytes({ ...header, serial: 0, status: STATUS_OK }, NO_BYTES));
  }

  #write(bytes: Buffer, done?: (error?: Error | null) => void): void {
    if (this.#death !== undefined) done?.(this.#death);
    else this.#socket.write(bytes, done);
  }

  #receive(chunk: Buffer): void {
    this.#keepalive?.heard();
    try {
      for (const packet of this.#packets.push(chunk)) {
        if (this.isDead) return;
        this.#dispatch(packet);
      }
    } catch (error) {
      if (!(error instanceof LibvirtFault)) throw error;
      this.#die(error);
    }
  }

  #dispatch(packet: Packet): void {
    const { program, version, type, procedure, serial } = packet.header;
    if (version !== PROTOCOL_VERSION) throw garbled(`version ${version} of program 0x${program.toString(16)}`);
    if (program === KEEPALIVE_PROGRAM) {
      if (procedure === KEEPALIVE_PING) this.#sendKeepalive(KEEPALIVE_PONG);
    } else if (type === MESSAGE_REPLY) {
      this.#settle(packet);
    } else if (type === MESSAGE_STREAM) {
      this.#streams.get(serial)?.receive(packet);
    } else if (type === MESSAGE_NOTICE && program === REMOTE_PROGRAM) {
      this.#announce(packet);
    } else {
      throw garbled(`message of type ${type} in program 0x${program.toString(16)}`);
    }
  }

  #settle({ header, payload }: Packet): void {
    const pending = this.#pending.get(header.serial);
    if (pending === undefined) throw garbled(`reply to serial ${header.serial}, which no call has`);
    this.#pending.delete(header.serial);
    try {
      if (pending.program !== header.program || pending.number !== header.procedure) {
        throw garbled(`${pending.name} answered as procedure ${header.procedure}`);
      }
      if (header.status === STATUS_OK) pending.take(payload);
      else if (header.status === STATUS_ERROR) pending.fail(refusedBy(pending.name, payload));
      else throw garbled(`${pending.name} answered with status ${header.status}`);
    } catch (error) {
      if (!(error instanceof LibvirtFault)) throw error;
      pending.fail(error);
    }
  }

  #announce({ header, payload }: Packet): void {
    const kind = events.find(({ number }) => number === header.procedure);
    if (kind === undefined) return; // nothing that we asked for
    this.#onEvent({ type: kind.type, ...decode<object>(kind.body, payload) } as DomainEvent);
  }

  #die(fault: LibvirtFault): void {
    if (this.#death !== undefined) return;
    const death = fault.fault.kind === "gone" ? fault : gone(this.#socketPath, fault.message, { cause: fault });
    this.#death = death;
    this.#keepalive?.[Symbol.dispose]();
    this.#socket.destroySoon(); // after what is still to be sent, if the other side takes it
    setTimeout(() => this.#socket.destroy(), PARTING_MS).unref();
    for (const pending of this.#pending.values()) pending.fail(death);
    for (const stream of this.#streams.values()) if (!stream.readableEnded) stream.destroy(death);
    this.#pending.clear();
    this.#streams.clear();
    this.#resolveClosed(death);
  }
}

function refusedBy(procedure: string, payload: Buffer): LibvirtFault {
  const { code, domain, level, message } = decode(refusal, payload);
  const fault = { kind: "refused", procedure, code, domain, level } as const;
  return new LibvirtFault(fault, message ?? `${procedure} failed without saying why (code ${code})`);
}
