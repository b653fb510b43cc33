// Looks into a protobuf message without knowing all of it, and writes fields: what is not looked for stays as it is.

/** The parts of length-delimited field `number`, in their order. @throws when the message is malformed. */
export function partsAt(message: Uint8Array, number: number): Uint8Array[] {
  const parts: Uint8Array[] = [];
  for (let at = 0; at < message.length; ) {
    const field = fieldAt(message, at);
    if (field.number === number && field.type === TYPE.BYTES) parts.push(message.subarray(field.valueAt, field.end));
    at = field.end;
  }
  return parts;
}

/** Every field as it stands, tag and value. @throws when the message is malformed. */
export function fieldsOf(message: Uint8Array): Uint8Array[] {
  const fields: Uint8Array[] = [];
  for (let at = 0; at < message.length; ) {
    const { end } = fieldAt(message, at);
    fields.push(message.subarray(at, end));
    at = end;
  }
  return fields;
}

/** The same message without its field `number`. @throws when it is malformed. */
export function without(message: Uint8Array, number: number): Uint8Array {
  return Buffer.concat(fieldsOf(message).filter((field) => fieldAt(field, 0).number !== number));
}

/** The embedded message at `path` of field numbers; empty where there is none. The last one wins. */
export function messageAt(message: Uint8Array, ...path: readonly number[]): Uint8Array {
  let at = message;
  for (const number of path) at = partsAt(at, number).at(-1) ?? EMPTY;
  return at;
}

/** The text at `path` of field numbers, `""` where there is none. */
export function textAt(message: Uint8Array, ...path: readonly number[]): string {
  const { buffer, byteOffset, length } = messageAt(message, ...path);
  return Buffer.from(buffer, byteOffset, length).toString();
}

/** Number, enum or bool of field `number`; 0 where there is none. The last one wins. */
export function numberAt(message: Uint8Array, number: number): number {
  let value = 0;
  for (let at = 0; at < message.length; ) {
    const field = fieldAt(message, at);
    if (field.number === number && field.type === TYPE.VARINT) value = varintAt(message, field.valueAt).value;
    at = field.end;
  }
  return value;
}

/** A map of texts. */
export function textsAt(message: Uint8Array, number: number): Map<string, string> {
  return new Map(partsAt(message, number).map((entry) => [textAt(entry, 1), textAt(entry, 2)]));
}

/** A message that holds `parts` as its repeated field `number`. */
export function messageOf(number: number, parts: Iterable<Uint8Array>): Uint8Array {
  return Buffer.concat(Array.from(parts, (part) => [tag(number, TYPE.BYTES), varint(part.length), part]).flat());
}

/** A message with one text; with nothing where that is empty. */
export function textField(number: number, text: string): Uint8Array {
  return text === "" ? EMPTY : messageOf(number, [Buffer.from(text)]);
}

/** A message with one number, enum or bool; with nothing where that is 0. */
export function numberField(number: number, value: number | bigint | boolean): Uint8Array {
  return Number(value) === 0 ? EMPTY : Buffer.concat([tag(number, TYPE.VARINT), varint(value)]);
}

const TYPE = { VARINT: 0, FIXED64: 1, BYTES: 2, FIXED32: 5 } as const;
const MAX_VARINT_BYTES = 10;
const EMPTY = new Uint8Array();

interface Field {
  readonly number: number;
  readonly type: number;
  /** Where its value begins: of bytes the first of them. */
  readonly valueAt: number;
  /** Behind it. */
  readonly end: number;
}

function fieldAt(message: Uint8Array, at: number): Field {
  const { value: tagged, end: valueAt } = varintAt(message, at);
  const [number, type] = [Math.floor(tagged / 8), tagged % 8];
  switch (type) {
    case TYPE.VARINT:
      return { number, type, valueAt, end: varintAt(message, valueAt).end };
    case TYPE.FIXED64:
      return whole(message, { number, type, valueAt, end: valueAt + 8 });
    case TYPE.FIXED32:
      return whole(message, { number, type, valueAt, end: valueAt + 4 });
    case TYPE.BYTES: {
      const { value: length, end } = varintAt(message, valueAt);
      return whole(message, { number, type, valueAt: end, end: end + length });
    }
    default:
      throw new Error(`a protobuf message has a field of type ${type}, which is none`);
  }
}

function whole(message: Uint8Array, field: Field): Field {
  if (field.end > message.length) throw new Error("a protobuf message ends within a field");
  return field;
}

/** Exact up to 2⁵³: nothing larger is looked at. */
function varintAt(message: Uint8Array, start: number): { readonly value: number; readonly end: number } {
  let value = 0;
  for (let at = start, scale = 1; at < start + MAX_VARINT_BYTES; at++, scale *= 128) {
    const byte = message[at];
    if (byte === undefined) throw new Error("a protobuf message ends within a number");
    value += (byte & 0x7f) * scale;
    if (byte < 0x80) return { value, end: at + 1 };
  }
  throw new Error(`a protobuf message has a number of more than ${MAX_VARINT_BYTES} bytes`);
}

function varint(value: number | bigint | boolean): Uint8Array {
  const bytes: number[] = [];
  let rest = BigInt(value);
  for (; rest >= 0x80n; rest >>= 7n) bytes.push(Number(rest & 0x7fn) | 0x80);
  return Uint8Array.from([...bytes, Number(rest)]);
}

function tag(number: number, type: number): Uint8Array {
  return varint(number * 8 + type);
}
