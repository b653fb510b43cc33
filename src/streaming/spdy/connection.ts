// The server's side of a SPDY/3.1 connection: the client opens streams, we answer. Flow control is TCP's: who does not
// read makes the connection wait, as Go's library does, which neither sends nor heeds WINDOW_UPDATE.
//
// INVARIANTS: what was received and not read stays below a bound a stream and a bound a connection, and so do answers to
// who makes us answer and does not read; a peer that breaks the protocol loses its connection; nothing is sent for a stream
// after its FIN or RST.

import type { Duplex } from "node:stream";
import {
  type BlockFrame,
  dataHeader,
  type Frame,
  FrameReader,
  goAwayFrame,
  pingFrame,
  RESET,
  resetFrame,
  SpdyError,
  synReplyFrame,
} from "./frames.ts";
import { HeaderReader, HeaderWriter } from "./headers.ts";
import { SpdyStream, type StreamCarrier } from "./stream.ts";

export interface SpdyOptions {
  /** Streams that may be open at once; more are refused one by one. */
  readonly maxStreams: number;
  /** Must accept or refuse it before it returns. */
  readonly onStream: (stream: SpdyStream) => void;
}

/** Received and not read: of one stream, of all. */
const MAX_STREAM_BYTES = 256 << 10;
const MAX_CONNECTION_BYTES = 4 << 20;
/** Frames that are not data, and wait for the client to read: above it, it is not listened to. */
const MAX_OWED_BYTES = 256 << 10;
/** What such a frame takes beside its bytes. */
const FRAME_OVERHEAD_BYTES = 256;
/** One frame is at most this long, so that one stream does not keep the others waiting. */
const MAX_FRAME_BYTES = 256 << 10;
/** How long a client that was told goodbye may take to go. */
const LINGER_MS = 2_000;
const NO_HEADERS = new Map<string, string>();

export class SpdyConnection implements StreamCarrier {
  readonly #transport: Duplex;
  readonly #options: SpdyOptions;
  readonly #frames = new FrameReader();
  readonly #headerReader = new HeaderReader();
  readonly #headerWriter = new HeaderWriter();
  readonly #streams = new Map<number, SpdyStream>();
  readonly #closing = new AbortController();
  #lastStreamId = 0;
  #bufferedBytes = 0;
  #owedBytes = 0;
  /** A header block is being unpacked: frames behind it wait. */
  #isUnpacking = false;
  #isLeaving = false;

  constructor(transport: Duplex, options: SpdyOptions) {
    this.#transport = transport;
    this.#options = options;
    transport.on("data", (chunk: Buffer) => this.#process(this.#frames.read(chunk)));
    transport.on("end", () => transport.destroy());
    transport.on("error", () => {}); // "close" follows
    transport.on("close", () => this.#gone());
  }

  /** Aborted when the client is gone or the connection broken. */
  get closed(): AbortSignal {
    return this.#closing.signal;
  }

  accept(stream: SpdyStream): void {
    this.#send(synReplyFrame(stream.streamId, this.#headerWriter.write(NO_HEADERS)));
  }

  refuse(stream: SpdyStream): void {
    this.#streams.delete(stream.streamId);
    this.#reset(stream.streamId, RESET.refused);
    stream.destroy();
  }

  /** Says goodbye, and waits a little for the client to go. Streams that are not finished by now lose their rest. */
  close(): void {
    if (this.#isLeaving || this.closed.aborted) return;
    this.#isLeaving = true;
    this.#dropStreams();
    this.#send(goAwayFrame(this.#lastStreamId, { isProtocolError: false }));
    this.#transport.end();
    // What the client is still sending is read and thrown away: to close on it would reset the connection, and with it
    // what the client has not read yet.
    this.#transport.resume();
    const timer = setTimeout(() => this.#transport.destroy(), LINGER_MS);
    this.closed.addEventListener("abort", () => clearTimeout(timer), { once: true });
  }

  sendData(streamId: number, bytes: Buffer, done: (error?: Error | null) => void): void {
    if (this.closed.aborted || this.#isLeaving) return done(new Error("the connection is closed"));
    if (bytes.length === 0) return done();
    this.#transport.cork();
    for (let at = 0; at < bytes.length; at += MAX_FRAME_BYTES) {
      const piece = bytes.length <= MAX_FRAME_BYTES ? bytes : bytes.subarray(at, at + MAX_FRAME_BYTES);
      this.#transport.write(dataHeader(streamId, piece.length, { isFin: false }));
      if (at + MAX_FRAME_BYTES < bytes.length) this.#transport.write(piece);
      else this.#transport.write(piece, done);
    }
    this.#transport.uncork();
  }

  sendFin(streamId: number, done: (error?: Error | null) => void): void {
    this.#send(dataHeader(streamId, 0, { isFin: true }));
    done();
  }

  forget(stream: SpdyStream, { wasClean }: { wasClean: boolean }): void {
    if (this.#streams.get(stream.streamId) !== stream) return;
    this.#streams.delete(stream.streamId);
    if (!wasClean) this.#reset(stream.streamId, RESET.cancel);
  }

  bufferedChanged(bytes: number): void {
    this.#bufferedBytes += bytes;
    if (bytes < 0) this.#resumeIfRoom();
  }

  /** The loop over what one chunk held; goes on by itself where a header block makes it wait. */
  #process(frames: Generator<Frame, void>): void {
    try {
      for (let next = frames.next(); next.done !== true; next = frames.next()) {
        const frame = next.value;
        if ("block" in frame) {
          this.#isUnpacking = true;
          this.#transport.pause();
          void this.#unpack(frame, frames);
          return;
        }
        this.#handle(frame);
      }
    } catch (error) {
      this.#fail(error);
    }
    if (!this.#hasRoom()) this.#transport.pause();
  }

  async #unpack(frame: BlockFrame, rest: Generator<Frame, void>): Promise<void> {
    try {
      const headers = await this.#headerReader.read(frame.block);
      if (this.closed.aborted) return;
      if (frame.type === "syn-stream") this.#open(frame, headers);
      else if (frame.isFin) this.#streams.get(frame.streamId)?.receiveEnd();
    } catch (error) {
      this.#fail(error);
      return;
    }
    this.#isUnpacking = false;
    this.#process(rest);
    this.#resumeIfRoom();
  }

  #open({ streamId, isFin }: BlockFrame, headers: ReadonlyMap<string, string>): void {
    // A client's streams have odd numbers, each higher than the last.
    if (streamId % 2 === 0 || streamId <= this.#lastStreamId) throw new SpdyError(`stream ${streamId} out of order`);
    this.#lastStreamId = streamId;
    if (this.#isLeaving || this.#streams.size >= this.#options.maxStreams) return this.#reset(streamId, RESET.refused);
    const stream = new SpdyStream(streamId, headers, this);
    this.#streams.set(streamId, stream);
    if (isFin) stream.receiveEnd();
    this.#options.onStream(stream);
  }

  #handle(frame: Exclude<Frame, BlockFrame>): void {
    switch (frame.type) {
      case "data": {
        const stream = this.#streams.get(frame.streamId); // that it is not known may be our own reset, crossing
        stream?.receive(frame.bytes);
        if (frame.isFin) stream?.receiveEnd();
        break;
      }
      case "reset": {
        const stream = this.#streams.get(frame.streamId);
        this.#streams.delete(frame.streamId); // nothing is to be sent for it any more
        stream?.destroy();
        break;
      }
      case "ping":
        if (frame.id % 2 === 1) this.#send(pingFrame(frame.id)); // odd: the client's, which wants it back
        break;
      case "go-away":
        break; // it opens no more streams, and closes when it is done
    }
  }

  #send(frame: Buffer): void {
    if (this.closed.aborted || !this.#transport.writable) return;
    const bytes = frame.length + FRAME_OVERHEAD_BYTES;
    this.#owedBytes += bytes;
    this.#transport.write(frame, () => {
      this.#owedBytes -= bytes;
      this.#resumeIfRoom();
    });
  }

  #reset(streamId: number, status: number): void {
    this.#send(resetFrame(streamId, status));
  }

  #hasRoom(): boolean {
    if (this.#isLeaving) return true;
    if (this.#owedBytes > MAX_OWED_BYTES) return false;
    if (this.#bufferedBytes === 0) return true;
    if (this.#bufferedBytes > MAX_CONNECTION_BYTES) return false;
    for (const { queuedBytes } of this.#streams.values()) if (queuedBytes > MAX_STREAM_BYTES) return false;
    return true;
  }

  #resumeIfRoom(): void {
    if (!this.#isUnpacking && this.#transport.isPaused() && this.#hasRoom()) this.#transport.resume();
  }

  #fail(error: unknown): void {
    if (!(error instanceof SpdyError)) throw error;
    this.#send(goAwayFrame(this.#lastStreamId, { isProtocolError: true }));
    this.#isLeaving = true;
    this.#transport.destroy();
  }

  #gone(): void {
    this.#closing.abort(new DOMException("the client is gone", "AbortError"));
    this.#headerReader[Symbol.dispose]();
    this.#dropStreams();
  }

  #dropStreams(): void {
    const streams = [...this.#streams.values()];
    this.#streams.clear();
    for (const stream of streams) stream.destroy();
  }
}
