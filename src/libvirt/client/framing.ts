// Packets on libvirt's socket: a length, a header of six words, a payload. Layout: virnetprotocol.x.

import { garbled, LibvirtFault } from "./fault.ts";

export const MESSAGE_CALL = 0;
export const MESSAGE_REPLY = 1;
export const MESSAGE_NOTICE = 2;
export const MESSAGE_STREAM = 3;

export const STATUS_OK = 0;
export const STATUS_ERROR = 1;
export const STATUS_CONTINUE = 2;

export interface Header {
  readonly program: number;
  readonly version: number;
  readonly procedure: number;
  /** MESSAGE_* */
  readonly type: number;
  readonly serial: number;
  /** STATUS_* */
  readonly status: number;
}

export interface Packet {
  readonly header: Header;
  readonly payload: Buffer;
}

const LENGTH_BYTES = 4;
const HEADER_BYTES = 24;
/** VIR_NET_MESSAGE_MAX: header and payload, the length word itself not counted. */
const MESSAGE_MAX_BYTES = 33_554_432;
const SMALLEST_BYTES = LENGTH_BYTES + HEADER_BYTES;
const LARGEST_BYTES = LENGTH_BYTES + MESSAGE_MAX_BYTES;

export function packetBytes(header: Header, payload: Uint8Array): Buffer {
  const lengthBytes = SMALLEST_BYTES + payload.length;
  if (lengthBytes > LARGEST_BYTES) {
    throw new LibvirtFault({ kind: "unsendable" }, `message of ${lengthBytes} bytes, libvirt takes ${LARGEST_BYTES}`);
  }
  const bytes = Buffer.alloc(lengthBytes);
  bytes.writeUInt32BE(lengthBytes, 0); // of everything, itself included
  bytes.writeUInt32BE(header.program, 4);
  bytes.writeUInt32BE(header.version, 8);
  bytes.writeInt32BE(header.procedure, 12);
  bytes.writeUInt32BE(header.type, 16);
  bytes.writeUInt32BE(header.serial, 20);
  bytes.writeUInt32BE(header.status, 24);
  bytes.set(payload, SMALLEST_BYTES);
  return bytes;
}

/** Finds packets in a byte stream, however it is cut. Holds at most one packet's bytes. */
export class PacketReader {
  #chunks: Buffer[] = [];
  #heldBytes = 0;
  /** Of the packet under way, once its first four bytes are there. */
  #lengthBytes: number | undefined;

  /** The packets that `chunk` completes. @throws `garbled` for an impossible length: the stream is then lost. */
  *push(chunk: Buffer): Generator<Packet, void> {
    if (chunk.length > 0) this.#chunks.push(chunk);
    this.#heldBytes += chunk.length;
    for (;;) {
      if (this.#lengthBytes === undefined) {
        if (this.#heldBytes < LENGTH_BYTES) return;
        this.#lengthBytes = checkedLength(this.#joined().readUInt32BE(0));
      }
      if (this.#heldBytes < this.#lengthBytes) return;
      const bytes = this.#joined();
      const packet = bytes.subarray(0, this.#lengthBytes);
      this.#heldBytes -= this.#lengthBytes;
      this.#chunks = this.#heldBytes > 0 ? [bytes.subarray(this.#lengthBytes)] : [];
      this.#lengthBytes = undefined;
      yield parsePacket(packet);
    }
  }

  #joined(): Buffer {
    const [first = Buffer.alloc(0), ...more] = this.#chunks;
    const bytes = more.length === 0 ? first : Buffer.concat(this.#chunks);
    this.#chunks = [bytes];
    return bytes;
  }
}

function checkedLength(lengthBytes: number): number {
  if (lengthBytes >= SMALLEST_BYTES && lengthBytes <= LARGEST_BYTES) return lengthBytes;
  throw garbled(`packet of ${lengthBytes} bytes, possible are ${SMALLEST_BYTES} to ${LARGEST_BYTES}`);
}

function parsePacket(bytes: Buffer): Packet {
  return {
    header: {
      program: bytes.readUInt32BE(4),
      version: bytes.readUInt32BE(8),
      procedure: bytes.readInt32BE(12),
      type: bytes.readUInt32BE(16),
      serial: bytes.readUInt32BE(20),
      status: bytes.readUInt32BE(24),
    },
    payload: bytes.subarray(SMALLEST_BYTES),
  };
}
