// A libvirt stream (console, channel) as a Node Duplex: back-pressure both ways, destroy aborts, end finishes.

import { Duplex } from "node:stream";
import { LibvirtFault } from "./fault.ts";
import { type Packet, STATUS_ERROR } from "./framing.ts";

/** What a stream needs of its connection, which carries nothing else. */
export interface StreamLink {
  /** Calls back when more may be sent. */
  sendData(bytes: Uint8Array, done: (error?: Error | null) => void): void;
  sendFinish(): void;
  sendAbort(): void;
  pause(): void;
  resume(): void;
  /** The error that a packet of status ERROR carries. */
  faultOf(packet: Packet): LibvirtFault;
}

// Below VIR_NET_MESSAGE_LEGACY_PAYLOAD_MAX (262,120), which every libvirtd takes.
const PIECE_BYTES = 65_536;

/**
 * `end()` finishes the stream in both directions, because libvirt knows no half-closed ones. An error from libvirt, or
 * the end of the connection, destroys it with a LibvirtFault.
 */
export class LibvirtStream extends Duplex {
  readonly #link: StreamLink;
  #hasEnded = false;

  constructor(link: StreamLink) {
    super({ allowHalfOpen: false, highWaterMark: PIECE_BYTES });
    this.#link = link;
    // It may fail before its owner has it in hand; that must not end the process. The owner sees `errored`.
    this.on("error", () => {});
  }

  /** A packet of this stream came. */
  receive(packet: Packet): void {
    if (this.destroyed || this.#hasEnded) return;
    if (packet.header.status === STATUS_ERROR) {
      this.#hasEnded = true;
      this.destroy(this.#link.faultOf(packet));
      return;
    }
    if (packet.payload.length === 0) {
      this.#hasEnded = true;
      this.push(null);
      return;
    }
    if (!this.push(packet.payload)) this.#link.pause();
  }

  override _read(): void {
    this.#link.resume();
  }

  override _write(chunk: Buffer, _encoding: BufferEncoding, done: (error?: Error | null) => void): void {
    const sendFrom = (start: number): void => {
      const piece = chunk.subarray(start, start + PIECE_BYTES);
      const next = start + piece.length;
      this.#link.sendData(piece, (error) => {
        if (error || next >= chunk.length) done(error);
        else sendFrom(next);
      });
    };
    if (chunk.length === 0) done();
    else sendFrom(0);
  }

  override _final(done: () => void): void {
    if (!this.#hasEnded) this.#link.sendFinish();
    done();
  }

  override _destroy(error: Error | null, done: (error?: Error | null) => void): void {
    if (!this.#hasEnded && !this.writableFinished) this.#link.sendAbort();
    done(error);
  }
}
