// Room for a download whose size on disk is not known when it begins: what is packed, or what nobody tells the length of.

import type { Body } from "./byte-source.ts";
import { IN_FLIGHT_BYTES } from "./disk-writer.ts";
import { peek } from "./peek.ts";

export interface Room {
  /** Of what is reserved. */
  readonly leftBytes: number;
  /** From here on so much more will be written. @throws DISK_FULL */
  raise(neededBytes: number): Promise<void>;
}

/** Reserved ahead of what is written: the disk is never filled, which would stop every VM on it. */
const AHEAD_BYTES = 16 * 1024 * 1024;

const SECTOR_BYTES = 512;
const HEAD_BYTES = SECTOR_BYTES * 2;
/** In the header of a GPT, in the second sector: where its copy in the disk's last one is. */
const GPT_COPY_OFFSET = SECTOR_BYTES + 32;

/**
 * Reserves all of it, as far as whoever packed it tells, or the disk itself. A qcow2 tells how large it may become and not
 * how large it is: for such the room is reserved as it comes, a piece ahead.
 * @throws what `room` throws, before any byte that does not fit.
 */
export async function* withRoom(
  { chunks, fromBytes }: Pick<Body, "chunks" | "fromBytes">,
  { toldBytes = 0, maxBytes }: { readonly toldBytes: number | undefined; readonly maxBytes: number },
  room: Room,
): AsyncGenerator<Uint8Array, void, undefined> {
  const peeked = await peek(chunks, HEAD_BYTES);
  const ofDisk = fromBytes === 0 ? sizeByGpt(peeked.head) : 0;
  let expectedBytes = Math.min(maxBytes, Math.max(toldBytes, ofDisk));
  await room.raise(expectedBytes);
  for await (const chunk of peeked.chunks) {
    expectedBytes -= chunk.length;
    // What is in flight still counts as free where room is asked for: without it, that much too much would be written.
    const atOnceBytes = chunk.length + IN_FLIGHT_BYTES;
    if (expectedBytes < 0 && room.leftBytes < atOnceBytes) await room.raise(atOnceBytes + AHEAD_BYTES);
    yield chunk;
  }
}

/** 0: it does not tell. */
function sizeByGpt(head: Uint8Array): number {
  const bytes = Buffer.from(head.buffer, head.byteOffset, head.byteLength);
  const hasGpt = bytes.length === HEAD_BYTES && bytes.toString("latin1", SECTOR_BYTES, SECTOR_BYTES + 8) === "EFI PART";
  return hasGpt ? (Number(bytes.readBigUInt64LE(GPT_COPY_OFFSET)) + 1) * SECTOR_BYTES : 0;
}
