// HTTP/2's frames (RFC 9113, sections 4 and 6): what they look like, read and written.

import { ByteCutter } from "../../lib/byte-cutter.ts";
import { ConnectionError, ERROR } from "./errors.ts";

export const TYPE = {
  DATA: 0,
  HEADERS: 1,
  RST_STREAM: 3,
  SETTINGS: 4,
  PUSH_PROMISE: 5,
  PING: 6,
  GOAWAY: 7,
  WINDOW_UPDATE: 8,
  CONTINUATION: 9,
} as const;

export const FLAG = { ACK: 0x1, END_STREAM: 0x1, END_HEADERS: 0x4, PADDED: 0x8, PRIORITY: 0x20 } as const;

export const SETTING = { ENABLE_PUSH: 2, MAX_CONCURRENT_STREAMS: 3, INITIAL_WINDOW_SIZE: 4, MAX_HEADER_LIST_SIZE: 6 };

/** What a client says first. */
export const PREFACE = Buffer.from("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n");

/** What every peer takes, and all that we take. */
export const MAX_PAYLOAD_BYTES = 16_384;
export const HEAD_BYTES = 9;
const MAX_31_BITS = 0x7fffffff;
const PRIORITY_BYTES = 5;

export interface Frame {
  readonly type: number;
  readonly flags: number;
  readonly streamId: number;
  readonly payload: Buffer;
}

export class FrameReader {
  readonly #cutter = new ByteCutter({
    prefixBytes: HEAD_BYTES,
    sizeOf: (head) => {
      const length = head.readUIntBE(0, 3);
      if (length > MAX_PAYLOAD_BYTES)
        throw new ConnectionError(ERROR.FRAME_SIZE_ERROR, `a frame of ${length} bytes, limit ${MAX_PAYLOAD_BYTES}`);
      return HEAD_BYTES + length;
    },
  });

  /** The frames that are whole now. @throws ConnectionError when one is too large. */
  push(chunk: Buffer): Frame[] {
    return this.#cutter.push(chunk).map((piece) => ({
      type: piece.readUInt8(3),
      flags: piece.readUInt8(4),
      streamId: piece.readUInt32BE(5) & MAX_31_BITS,
      payload: piece.subarray(HEAD_BYTES),
    }));
  }
}

/** What stands in front of a payload of `length` bytes. */
export function headOf({ type, flags, streamId }: Omit<Frame, "payload">, length: number): Buffer {
  const head = Buffer.allocUnsafe(HEAD_BYTES);
  head.writeUIntBE(length, 0, 3);
  head.writeUInt8(type, 3);
  head.writeUInt8(flags, 4);
  head.writeUInt32BE(streamId, 5);
  return head;
}

/** A payload of 32-bit numbers. */
export function numbers(...values: readonly number[]): Buffer {
  const bytes = Buffer.allocUnsafe(values.length * 4);
  for (const [index, value] of values.entries()) bytes.writeUInt32BE(value, index * 4);
  return bytes;
}

/** The payload's one number of 31 bits. @throws ConnectionError when it is not one. */
export function numberIn({ payload }: Frame): number {
  if (payload.length !== 4) throw new ConnectionError(ERROR.FRAME_SIZE_ERROR, "a frame has the wrong size");
  return payload.readUInt32BE(0) & MAX_31_BITS;
}

export function settingsPayload(settings: readonly (readonly [setting: number, value: number])[]): Buffer {
  const payload = Buffer.allocUnsafe(settings.length * 6);
  for (const [index, [setting, value]] of settings.entries()) {
    payload.writeUInt16BE(setting, index * 6);
    payload.writeUInt32BE(value, index * 6 + 2);
  }
  return payload;
}

export function settingsIn({ payload }: Frame): [setting: number, value: number][] {
  if (payload.length % 6 !== 0) throw new ConnectionError(ERROR.FRAME_SIZE_ERROR, "SETTINGS of a wrong size");
  return Array.from({ length: payload.length / 6 }, (_, index) => [
    payload.readUInt16BE(index * 6),
    payload.readUInt32BE(index * 6 + 2),
  ]);
}

/** The payload of DATA or HEADERS, without what pads it and what it says of priorities. @throws ConnectionError */
export function contentOf({ type, flags, payload }: Frame): Buffer {
  const isPadded = (flags & FLAG.PADDED) !== 0;
  const hasPriority = type === TYPE.HEADERS && (flags & FLAG.PRIORITY) !== 0;
  const start = (isPadded ? 1 : 0) + (hasPriority ? PRIORITY_BYTES : 0);
  const end = payload.length - (isPadded ? (payload[0] ?? 0) : 0);
  if (start > end) throw new ConnectionError(ERROR.PROTOCOL_ERROR, "a frame has more padding than bytes");
  return payload.subarray(start, end);
}
