// Kubernetes' channels on one WebSocket: the first byte of a message says which channel the rest belongs to.
//
// INVARIANTS: a channel that nobody reads makes the whole socket wait, as one TCP connection must; so what is received
// and not read stays below what came in one piece with the first message that found nobody.

import { Duplex, Writable } from "node:stream";
import type { RawData, WebSocket } from "ws";

export interface ChannelCodec {
  /** Channel and content as characters: `"0" + base64`. */
  readonly isBase64: boolean;
  /** Version 5: `[255, channel]` half-closes one. */
  readonly canClose: boolean;
}

const CLOSE_SIGNAL = 255;
const ASCII_ZERO = 48;
const BUFFER_BYTES = 64 << 10;

export class WebSocketChannels {
  readonly #socket: WebSocket;
  readonly #codec: ChannelCodec;
  readonly #opened = new Map<number, Duplex>();
  readonly #full = new Set<number>();
  readonly #closing = new AbortController();

  constructor(socket: WebSocket, codec: ChannelCodec) {
    this.#socket = socket;
    this.#codec = codec;
    socket.binaryType = "nodebuffer";
    socket.on("message", (message: RawData) => this.#receive(message as Buffer)); // by its binaryType
    socket.on("close", () => this.#gone());
  }

  /** Aborted when the client is gone. */
  get closed(): AbortSignal {
    return this.#closing.signal;
  }

  /** A channel that the client sends on. Messages for a channel that nobody opened are dropped. */
  open(channel: number): Duplex {
    const opened = new Duplex({
      readableHighWaterMark: 1, // Node counts bytes, and a tiny message may keep much more
      writableHighWaterMark: BUFFER_BYTES,
      read: () => this.#hasRoom(channel),
      write: (chunk: Buffer, _encoding, done) => this.send(channel, chunk, done),
    });
    opened.on("error", () => {}); // whoever uses it hears of it
    opened.on("close", () => {
      this.#opened.delete(channel);
      this.#hasRoom(channel);
    });
    this.#opened.set(channel, opened);
    return opened;
  }

  /** What is written to it goes out on a channel; there is no end to tell but that of the socket. */
  writable(channel: number): Writable {
    return new Writable({
      highWaterMark: BUFFER_BYTES,
      write: (chunk: Buffer, _encoding, done) => this.send(channel, chunk, done),
    }).on("error", () => {});
  }

  send(channel: number, bytes: Buffer, done: (error?: Error | null) => void): void {
    if (this.#socket.readyState !== this.#socket.OPEN) return done(new Error("the connection is closed"));
    const { isBase64 } = this.#codec;
    if (isBase64) this.#socket.send(String.fromCharCode(ASCII_ZERO + channel) + bytes.toString("base64"), done);
    else this.#socket.send(Buffer.concat([Buffer.of(channel), bytes], bytes.length + 1), done);
  }

  /** A normal end, behind everything that was sent. */
  close(): void {
    for (const opened of this.#opened.values()) opened.destroy();
    this.#socket.close(1000);
  }

  #receive(message: Buffer): void {
    if (message.length === 0) return;
    const { isBase64, canClose } = this.#codec;
    const first = message.readUInt8(0);
    if (canClose && first === CLOSE_SIGNAL) return this.#end(message[1]);
    const channel = isBase64 ? first - ASCII_ZERO : first;
    const target = this.#opened.get(channel);
    const content = isBase64 ? Buffer.from(message.toString("latin1", 1), "base64") : message.subarray(1);
    if (target === undefined || content.length === 0 || target.push(content)) return;
    this.#full.add(channel);
    this.#socket.pause();
  }

  #end(channel: number | undefined): void {
    if (channel === undefined) return;
    this.#opened.get(channel)?.push(null);
    this.#opened.delete(channel);
  }

  #hasRoom(channel: number): void {
    this.#full.delete(channel);
    if (this.#full.size === 0 && this.#socket.isPaused) this.#socket.resume();
  }

  #gone(): void {
    this.#closing.abort(new DOMException("the client is gone", "AbortError"));
    for (const opened of this.#opened.values()) opened.destroy();
  }
}
