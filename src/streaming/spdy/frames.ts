// SPDY/3.1 frames: bytes in, frames out, and back. Knows nothing of streams, headers or time.
//
// INVARIANTS: never holds more than one control frame, which is bounded; the bytes of data frames pass through in the
// pieces in which they arrive, whatever length the frame claims.

/** What a peer may not do. Ends the connection. */
export class SpdyError extends Error {
  override readonly name = "SpdyError";
}

/** A frame with headers. Every block MUST be decompressed, in order: they share one window. */
export interface BlockFrame {
  readonly type: "syn-stream" | "syn-reply" | "headers";
  readonly streamId: number;
  readonly isFin: boolean;
  /** Still compressed. */
  readonly block: Buffer;
}

export type Frame =
  | BlockFrame
  | { readonly type: "reset"; readonly streamId: number }
  | { readonly type: "ping"; readonly id: number }
  | { readonly type: "go-away" }
  /** A piece of a data frame; `isFin` only on the last piece. */
  | { readonly type: "data"; readonly streamId: number; readonly bytes: Buffer; readonly isFin: boolean };

/** RST_STREAM's status codes that we send. */
export const RESET = { protocolError: 1, refused: 3, cancel: 5 } as const;

/** SPDY asks for 8 KiB at least; Kubernetes' have some 100 bytes. */
export const MAX_CONTROL_BYTES = 64 << 10;
const MAX_DATA_BYTES = 0xff_ffff;

const HEADER_BYTES = 8;
const VERSION = 3;
const FLAG_FIN = 1;
const TYPE = {
  synStream: 1,
  synReply: 2,
  reset: 3,
  settings: 4,
  ping: 6,
  goAway: 7,
  headers: 8,
  windowUpdate: 9,
} as const;
const NONE = Buffer.alloc(0);

export class FrameReader {
  readonly #header = Buffer.alloc(HEADER_BYTES);
  #headerBytes = 0;
  /** Of the control frame that is being read. */
  #body: Buffer | undefined;
  #bodyBytes = 0;
  #data: { readonly streamId: number; readonly isFin: boolean; leftBytes: number } | undefined;

  /** MUST be taken to its end before the next call. @throws SpdyError */
  *read(chunk: Buffer): Generator<Frame, void> {
    for (let at = 0; at < chunk.length; ) {
      if (this.#data !== undefined) {
        const bytes = chunk.subarray(at, at + this.#data.leftBytes);
        at += bytes.length;
        yield this.#pieceOf(this.#data, bytes);
      } else if (this.#body !== undefined) {
        const copied = chunk.copy(this.#body, this.#bodyBytes, at);
        at += copied;
        this.#bodyBytes += copied;
        if (this.#bodyBytes === this.#body.length) yield* this.#finishControl(this.#body);
      } else {
        const copied = chunk.copy(this.#header, this.#headerBytes, at);
        at += copied;
        this.#headerBytes += copied;
        if (this.#headerBytes === HEADER_BYTES) yield* this.#startFrame();
      }
    }
  }

  #pieceOf(data: { streamId: number; isFin: boolean; leftBytes: number }, bytes: Buffer): Frame {
    data.leftBytes -= bytes.length;
    const isLast = data.leftBytes === 0;
    if (isLast) this.#data = undefined;
    return { type: "data", streamId: data.streamId, bytes, isFin: isLast && data.isFin };
  }

  *#startFrame(): Generator<Frame, void> {
    this.#headerBytes = 0;
    const length = this.#header.readUIntBE(5, 3);
    if ((this.#header.readUInt8(0) & 0x80) === 0) {
      const data = { streamId: this.#header.readUInt32BE(0), isFin: this.#isFin(), leftBytes: length };
      if (length > 0) this.#data = data;
      else if (data.isFin) yield { type: "data", streamId: data.streamId, bytes: NONE, isFin: true };
      return;
    }
    const version = this.#header.readUInt16BE(0) & 0x7fff;
    if (version !== VERSION) throw new SpdyError(`a frame of SPDY version ${version}`);
    if (length > MAX_CONTROL_BYTES) throw new SpdyError(`a control frame of ${length} bytes`);
    this.#body = Buffer.allocUnsafe(length);
    this.#bodyBytes = 0;
    if (length === 0) yield* this.#finishControl(this.#body);
  }

  *#finishControl(body: Buffer): Generator<Frame, void> {
    this.#body = undefined;
    const type = this.#header.readUInt16BE(2);
    switch (type) {
      case TYPE.synStream: // stream, associated stream, priority and slot
        yield { type: "syn-stream", ...this.#block(body, 10) };
        break;
      case TYPE.synReply:
        yield { type: "syn-reply", ...this.#block(body, 4) };
        break;
      case TYPE.headers:
        yield { type: "headers", ...this.#block(body, 4) };
        break;
      case TYPE.reset:
        yield { type: "reset", streamId: uint31(body, 8) };
        break;
      case TYPE.ping:
        yield { type: "ping", id: uint31(body, 4, 0xffff_ffff) };
        break;
      case TYPE.goAway:
        yield { type: "go-away" };
        break;
      case TYPE.settings: // nothing in them is for us
      case TYPE.windowUpdate: // Go's library, which is on the other side, neither heeds nor sends them: TCP does the work
        break;
      default: // "must be ignored" says the specification of types that are not known
        break;
    }
  }

  #block(body: Buffer, offset: number): Pick<BlockFrame, "streamId" | "isFin" | "block"> {
    const streamId = uint31(body, offset);
    return { streamId, isFin: this.#isFin(), block: body.subarray(offset) };
  }

  #isFin(): boolean {
    return (this.#header.readUInt8(4) & FLAG_FIN) !== 0;
  }
}

/** The first number of a body that must have `minBytes`. */
function uint31(body: Buffer, minBytes: number, mask = 0x7fff_ffff): number {
  if (body.length < minBytes) throw new SpdyError(`a control frame of only ${body.length} bytes`);
  return (body.readUInt32BE(0) & mask) >>> 0;
}

/** What goes before `lengthBytes` of a stream's data. */
export function dataHeader(streamId: number, lengthBytes: number, { isFin }: { isFin: boolean }): Buffer {
  if (lengthBytes > MAX_DATA_BYTES) throw new RangeError(`a data frame of ${lengthBytes} bytes`);
  const header = Buffer.allocUnsafe(HEADER_BYTES);
  header.writeUInt32BE(streamId, 0);
  header.writeUInt8(isFin ? FLAG_FIN : 0, 4);
  header.writeUIntBE(lengthBytes, 5, 3);
  return header;
}

export function synStreamFrame(streamId: number, block: Buffer, { isFin }: { isFin: boolean }): Buffer {
  const head = Buffer.alloc(10); // not associated to a stream, highest priority
  head.writeUInt32BE(streamId, 0);
  return control(TYPE.synStream, isFin, head, block);
}

export const synReplyFrame = (streamId: number, block: Buffer): Buffer =>
  control(TYPE.synReply, false, uint32(streamId), block);

export const resetFrame = (streamId: number, status: number): Buffer =>
  control(TYPE.reset, false, uint32(streamId), uint32(status));

export const pingFrame = (id: number): Buffer => control(TYPE.ping, false, uint32(id));

/** `lastStreamId`: the newest of the other side's streams that was taken up. */
export const goAwayFrame = (lastStreamId: number, { isProtocolError }: { isProtocolError: boolean }): Buffer =>
  control(TYPE.goAway, false, uint32(lastStreamId), uint32(isProtocolError ? 1 : 0));

function control(type: number, isFin: boolean, ...parts: readonly Buffer[]): Buffer {
  const body = Buffer.concat(parts);
  const header = Buffer.allocUnsafe(HEADER_BYTES);
  header.writeUInt16BE(0x8000 | VERSION, 0);
  header.writeUInt16BE(type, 2);
  header.writeUInt8(isFin ? FLAG_FIN : 0, 4);
  header.writeUIntBE(body.length, 5, 3);
  return Buffer.concat([header, body]);
}

function uint32(value: number): Buffer {
  const bytes = Buffer.allocUnsafe(4);
  bytes.writeUInt32BE(value);
  return bytes;
}
