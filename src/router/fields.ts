// Looks into a protobuf message without knowing all of it: what is not looked for stays as it is.

import { BinaryReader, BinaryWriter, WireType } from "@bufbuild/protobuf/wire";

/** The parts of length-delimited field `number`, in their order. @throws when the message is malformed. */
export function partsAt(message: Uint8Array, number: number): Uint8Array[] {
  const parts: Uint8Array[] = [];
  const reader = new BinaryReader(message);
  while (reader.pos < reader.len) {
    const [found, type] = reader.tag();
    if (found === number && type === WireType.LengthDelimited) parts.push(reader.bytes());
    else reader.skip(type, found);
  }
  return parts;
}

/** The same message without its field `number`. @throws when it is malformed. */
export function without(message: Uint8Array, number: number): Uint8Array {
  const kept: Uint8Array[] = [];
  const reader = new BinaryReader(message);
  while (reader.pos < reader.len) {
    const start = reader.pos;
    const [found, type] = reader.tag();
    reader.skip(type, found);
    if (found !== number) kept.push(message.subarray(start, reader.pos));
  }
  return Buffer.concat(kept);
}

/** The embedded message at `path` of field numbers; empty where there is none. The last one wins. */
export function messageAt(message: Uint8Array, ...path: readonly number[]): Uint8Array {
  let at = message;
  for (const number of path) at = partsAt(at, number).at(-1) ?? EMPTY;
  return at;
}

/** The text at `path` of field numbers, `""` where there is none. */
export function textAt(message: Uint8Array, ...path: readonly number[]): string {
  return Buffer.from(messageAt(message, ...path)).toString();
}

/** A message that holds `parts` as its repeated field `number`. */
export function messageOf(number: number, parts: Iterable<Uint8Array>): Uint8Array {
  const writer = new BinaryWriter();
  for (const part of parts) writer.tag(number, WireType.LengthDelimited).bytes(part);
  return writer.finish();
}

const EMPTY = new Uint8Array();
