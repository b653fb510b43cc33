// One HTTP/2 connection (RFC 9113) over a socket, as much as gRPC needs, for either end: the client's opens streams, the
// server's is told of them.

import type { Socket } from "node:net";
import { ConnectionError, ERROR, NotBegun, nameOfError, StreamReset } from "./errors.ts";
import {
  contentOf,
  FLAG,
  type Frame,
  FrameReader,
  MAX_PAYLOAD_BYTES,
  numberIn,
  PREFACE,
  SETTING,
  settingsIn,
  settingsPayload,
  TYPE,
} from "./frames.ts";
import { HeaderBlocks, MAX_LIST_BYTES } from "./header-blocks.ts";
import type { Headers } from "./hpack.ts";
import { WINDOW_BYTES } from "./incoming.ts";
import { Sender } from "./sender.ts";
import { Stream, type StreamCarrier } from "./stream.ts";

/** For all streams together; bytes count as read when they come, so that a stream that nobody reads stops no other. */
const CONNECTION_WINDOW_BYTES = 1 << 22;
const DEFAULT_WINDOW_BYTES = 65_535;
/** Calls of one caller at the same time. */
const MAX_STREAMS = 1_000;
const MAX_STREAM_ID = 0x7fffffff;
const MAX_WINDOW_BYTES = 0x7fffffff;
const OUR_SETTINGS: readonly (readonly [setting: number, value: number])[] = [
  [SETTING.ENABLE_PUSH, 0],
  [SETTING.MAX_CONCURRENT_STREAMS, MAX_STREAMS],
  [SETTING.INITIAL_WINDOW_SIZE, WINDOW_BYTES],
  [SETTING.MAX_HEADER_LIST_SIZE, MAX_LIST_BYTES],
];

export interface ConnectionOptions {
  /** A server's: hears of each stream when its headers have come. Absent: this end is the client. */
  readonly onStream?: (stream: Stream) => void;
  /** It is gone, and its streams have been told. */
  readonly onClose?: () => void;
  /** Streams at the same time that the peer took when it was last connected: it says so only some time after the first. */
  readonly maxStreams?: number | undefined;
}

/**
 * INVARIANTS: its socket is its alone. Whatever the peer does, what is kept for it is bounded: by windows for what comes, by the
 * outbox for what goes, by the number of streams. When it goes, every stream that was open has ended or failed.
 */
export class Connection implements Disposable {
  readonly #socket: Socket;
  readonly #onStream: ConnectionOptions["onStream"];
  readonly #sender: Sender;
  readonly #frames = new FrameReader();
  readonly #blocks = new HeaderBlocks();
  readonly #streams = new Map<number, Stream>();
  /** What is left of it to come. */
  #preface = PREFACE;
  #hasSettings = false;
  /** Of the streams that the client opened. */
  #lastId = 0;
  /** Of those, the last one that the socket has taken. */
  #sentId = 0;
  #sendWindowBytes = DEFAULT_WINDOW_BYTES;
  #streamWindowBytes = DEFAULT_WINDOW_BYTES;
  #maxStreams: number;
  #unreportedBytes = 0;
  #isGoing = false;
  #why: Error | undefined;

  constructor(socket: Socket, { onStream, onClose, maxStreams = Number.POSITIVE_INFINITY }: ConnectionOptions) {
    this.#socket = socket;
    this.#maxStreams = maxStreams;
    this.#onStream = onStream;
    this.#sender = new Sender(socket, {
      onOverflow: () => this.destroy(new Error("the peer reads nothing")),
      onSent: () => {
        this.#sentId = this.#lastId;
      },
    });
    if (onStream === undefined) {
      this.#preface = NOTHING; // only clients say it
      this.#sender.preface();
    }
    this.#sender.settings(settingsPayload(OUR_SETTINGS));
    this.#sender.window(0, CONNECTION_WINDOW_BYTES - DEFAULT_WINDOW_BYTES);
    socket.on("data", (chunk: Buffer) => this.#takeChunk(chunk));
    socket.on("drain", () => this.#pump());
    socket.on("error", (error) => {
      this.#why ??= error;
    });
    socket.on("end", () => this.destroy(new Error("the connection was closed")));
    socket.on("close", () => {
      this.#failAll(this.#why ?? new Error("the connection was closed"));
      onClose?.();
    });
  }

  /** Streams that a client may have open at the same time, as far as the peer has said. */
  get maxStreams(): number {
    return this.#maxStreams;
  }

  /** Whether a client may open a stream on it now. */
  get isUsable(): boolean {
    const hasRoom = this.#streams.size < this.#maxStreams && this.#lastId < MAX_STREAM_ID - 2;
    return hasRoom && !this.#isGoing && !this.#socket.destroyed;
  }

  /** A client's next stream, where `isUsable`; its headers are sent. */
  open(headers: Headers): Stream {
    this.#lastId += this.#lastId === 0 ? 1 : 2;
    const stream = this.#add(this.#lastId);
    stream.outgoing.begin(headers);
    return stream;
  }

  /** Takes no streams any more; goes when those that are open have ended. */
  goAway(): void {
    if (this.#isGoing || this.#socket.destroyed) return;
    this.#isGoing = true;
    this.#sender.goAway(this.#onStream === undefined ? 0 : this.#lastId, ERROR.NO_ERROR);
    this.#endIfIdle();
  }

  /** At once. */
  destroy(why: Error): void {
    this.#why ??= why;
    this.#socket.destroy();
    this.#failAll(this.#why);
  }

  [Symbol.dispose](): void {
    this.destroy(new Error("the connection was closed by us"));
  }

  #takeChunk(chunk: Buffer): void {
    try {
      for (const frame of this.#frames.push(this.#withoutPreface(chunk))) {
        if (this.#socket.destroyed) return;
        this.#take(frame);
      }
    } catch (error) {
      if (!(error instanceof ConnectionError)) throw error;
      this.#sender.goAway(this.#onStream === undefined ? 0 : this.#lastId, error.code);
      this.#sender.flush();
      this.destroy(error);
    }
  }

  #withoutPreface(chunk: Buffer): Buffer {
    if (this.#preface.length === 0) return chunk;
    const begun = chunk.subarray(0, this.#preface.length);
    if (!begun.equals(this.#preface.subarray(0, begun.length)))
      throw new ConnectionError(ERROR.PROTOCOL_ERROR, "a client that does not speak HTTP/2");
    this.#preface = this.#preface.subarray(begun.length);
    return chunk.subarray(begun.length);
  }

  #take(frame: Frame): void {
    if (!this.#hasSettings && frame.type !== TYPE.SETTINGS) throw breach("the first frame is not SETTINGS");
    if (this.#blocks.isOpen !== (frame.type === TYPE.CONTINUATION))
      throw breach("a header block that is not in one piece");
    switch (frame.type) {
      case TYPE.DATA:
        return this.#takeData(frame);
      case TYPE.HEADERS:
      case TYPE.CONTINUATION:
        return this.#takeHeaders(frame);
      case TYPE.RST_STREAM:
        return this.#takeReset(frame);
      case TYPE.SETTINGS:
        return this.#takeSettings(frame);
      case TYPE.PING:
        return this.#takePing(frame);
      case TYPE.GOAWAY:
        return this.#takeGoaway(frame);
      case TYPE.WINDOW_UPDATE:
        return this.#takeWindow(frame);
      case TYPE.PUSH_PROMISE:
        throw breach("PUSH_PROMISE, which nobody may send us");
      default: // priorities, and whatever there will be: section 5.5 says to ignore it
    }
  }

  #takeData(frame: Frame): void {
    const content = contentOf(frame);
    this.#report(frame.payload.length);
    const stream = this.#streamOf(frame);
    if (stream === undefined || stream.incoming.hasEnded) return; // we have no use for it any more
    if (!stream.incoming.takeBytes(content, frame.payload.length - content.length))
      return this.#refuse(frame.streamId, stream, ERROR.FLOW_CONTROL_ERROR, "more bytes than were allowed");
    if ((frame.flags & FLAG.END_STREAM) === 0) return;
    stream.incoming.end();
    this.#settle(frame.streamId, stream);
  }

  #takeHeaders(frame: Frame): void {
    const block = this.#blocks.push(frame);
    if (block === undefined) return;
    const { streamId, headers, isLast } = block;
    const known = this.#isIdle(streamId) ? this.#accept(streamId) : this.#streams.get(streamId);
    if (known === undefined || known.incoming.hasEnded) return;
    if (headers === undefined) return this.#refuse(streamId, known, ERROR.ENHANCE_YOUR_CALM, "headers are too large");
    if (this.#onStream === undefined && isInterim(headers)) return;
    const isFirst = known.incoming.headers === undefined;
    if (!isFirst && !isLast) return this.#refuse(streamId, known, ERROR.PROTOCOL_ERROR, "headers after its headers");
    // An answer that has nothing but a status has that in its trailers; a request has headers, and maybe nothing else.
    if (isFirst && (!isLast || this.#onStream !== undefined)) known.incoming.takeHeaders(headers);
    if (isLast) known.incoming.end(headers);
    this.#settle(streamId, known);
    if (isFirst) this.#onStream?.(known);
  }

  /** A stream that the client begins. Undefined: not taken. */
  #accept(streamId: number): Stream | undefined {
    if (this.#onStream === undefined || streamId % 2 === 0)
      throw breach(`stream ${streamId} is not the peer's to begin`);
    if (this.#isGoing) return undefined; // it learns that from our GOAWAY
    this.#lastId = streamId;
    if (this.#streams.size < MAX_STREAMS) return this.#add(streamId);
    this.#sender.reset(streamId, ERROR.REFUSED_STREAM);
    return undefined;
  }

  #takeReset(frame: Frame): void {
    const stream = this.#streamOf(frame);
    const code = numberIn(frame);
    if (stream === undefined) return;
    const reset = new StreamReset(code);
    stream.fail(code === ERROR.REFUSED_STREAM ? new NotBegun(reset.message) : reset);
    this.#forget(frame.streamId);
  }

  #takeSettings(frame: Frame): void {
    if (frame.streamId !== 0) throw breach("SETTINGS of a stream");
    if ((frame.flags & FLAG.ACK) !== 0) return;
    this.#sender.acknowledge(TYPE.SETTINGS, NOTHING); // before whatever they allow: the peer keeps to the old ones until then
    if (!this.#hasSettings) this.#maxStreams = Number.POSITIVE_INFINITY; // unless it says otherwise now
    for (const [setting, value] of settingsIn(frame)) {
      if (setting === SETTING.MAX_CONCURRENT_STREAMS) this.#maxStreams = value;
      if (setting !== SETTING.INITIAL_WINDOW_SIZE) continue;
      if (value > MAX_WINDOW_BYTES) throw tooWide();
      const change = value - this.#streamWindowBytes;
      this.#streamWindowBytes = value;
      for (const { outgoing } of this.#streams.values()) if (!outgoing.widen(change)) throw tooWide();
    }
    this.#hasSettings = true;
  }

  #takePing({ streamId, flags, payload }: Frame): void {
    if (streamId !== 0) throw breach("PING of a stream");
    if (payload.length !== 8) throw new ConnectionError(ERROR.FRAME_SIZE_ERROR, "a PING of a wrong size");
    if ((flags & FLAG.ACK) === 0) this.#sender.acknowledge(TYPE.PING, payload);
  }

  #takeGoaway({ payload }: Frame): void {
    if (payload.length < 8) throw new ConnectionError(ERROR.FRAME_SIZE_ERROR, "a GOAWAY of a wrong size");
    const lastId = payload.readUInt32BE(0);
    const why = new NotBegun(`the call was not taken (${nameOfError(payload.readUInt32BE(4))})`);
    this.#isGoing = true;
    if (this.#onStream !== undefined) return; // a client that goes; it opened all streams there are
    for (const [id, stream] of this.#streams) {
      if (id <= lastId) continue;
      stream.fail(why);
      this.#streams.delete(id);
    }
    this.#endIfIdle();
  }

  #takeWindow(frame: Frame): void {
    const bytes = numberIn(frame);
    if (frame.streamId !== 0) {
      const stream = this.#streamOf(frame);
      if (stream === undefined || (bytes > 0 && stream.outgoing.widen(bytes))) return;
      return this.#refuse(frame.streamId, stream, ERROR.FLOW_CONTROL_ERROR, "a window that cannot be");
    }
    this.#sendWindowBytes += bytes;
    if (bytes === 0 || this.#sendWindowBytes > MAX_WINDOW_BYTES) throw tooWide();
    this.#pump();
  }

  /** Undefined: it is over, and the peer may not know that yet. @throws ConnectionError where it has not begun */
  #streamOf({ streamId }: Frame): Stream | undefined {
    if (this.#isIdle(streamId) && !this.#isGoing) throw breach(`a frame of stream ${streamId}, which has not begun`);
    return this.#streams.get(streamId);
  }

  #isIdle(streamId: number): boolean {
    return streamId % 2 === 0 || streamId > this.#lastId;
  }

  #add(streamId: number): Stream {
    const stream: Stream = new Stream(this.#streamWindowBytes, {
      roomBytes: () => (this.#sender.isFull ? 0 : Math.min(this.#sendWindowBytes, MAX_PAYLOAD_BYTES)),
      sendHeaders: (headers, isLast) => {
        this.#sender.headers(streamId, headers, { isLast });
        if (isLast) this.#hasEnded(streamId, stream);
      },
      sendBytes: (bytes, isLast) => {
        this.#sendWindowBytes -= bytes.length;
        this.#sender.data(streamId, bytes, { isLast });
        if (isLast) this.#hasEnded(streamId, stream);
      },
      allow: (bytes) => this.#sender.window(streamId, bytes),
      sendReset: (code) => {
        this.#sender.reset(streamId, code);
        this.#forget(streamId);
      },
    } satisfies StreamCarrier);
    this.#streams.set(streamId, stream);
    return stream;
  }

  /** A server that has answered takes no more of the request. */
  #hasEnded(streamId: number, stream: Stream): void {
    if (this.#onStream !== undefined && !stream.incoming.hasEnded) {
      this.#sender.reset(streamId, ERROR.NO_ERROR);
      stream.incoming.end();
    }
    this.#settle(streamId, stream);
  }

  /** The peer breaks the rules within one stream: that one ends. */
  #refuse(streamId: number, stream: Stream, code: number, why: string): void {
    this.#sender.reset(streamId, code);
    stream.fail(new Error(why));
    this.#forget(streamId);
  }

  #settle(streamId: number, stream: Stream): void {
    if (stream.isOver) this.#forget(streamId);
  }

  #forget(streamId: number): void {
    this.#streams.delete(streamId);
    if (this.#isGoing) this.#endIfIdle();
  }

  #endIfIdle(): void {
    if (this.#streams.size > 0) return;
    this.#sender.flush();
    this.#socket.end();
  }

  #failAll(why: Error): void {
    const streams = [...this.#streams];
    this.#streams.clear();
    for (const [id, stream] of streams) {
      const isUnsent = this.#onStream === undefined && id > this.#sentId;
      stream.fail(isUnsent ? new NotBegun("the call was not sent", { cause: why }) : why);
    }
  }

  #pump(): void {
    for (const { outgoing } of this.#streams.values()) if (outgoing.isHeldUp) outgoing.pump();
  }

  /** The connection's share of what came: it is read as soon as it is here. */
  #report(bytes: number): void {
    this.#unreportedBytes += bytes;
    if (this.#unreportedBytes < CONNECTION_WINDOW_BYTES / 2) return;
    this.#sender.window(0, this.#unreportedBytes);
    this.#unreportedBytes = 0;
  }
}

const NOTHING = Buffer.alloc(0);

/** 100 and its like: the answer is yet to come. */
function isInterim(headers: Headers): boolean {
  return headers.some(([name, value]) => name === ":status" && value.startsWith("1"));
}

function breach(what: string): ConnectionError {
  return new ConnectionError(ERROR.PROTOCOL_ERROR, what);
}

function tooWide(): ConnectionError {
  return new ConnectionError(ERROR.FLOW_CONTROL_ERROR, "a window that cannot be");
}
