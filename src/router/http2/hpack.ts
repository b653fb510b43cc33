// Header blocks of HTTP/2 (HPACK, RFC 7541). What we write uses no table that a peer would have to keep for us.

import { ConnectionError, ERROR } from "./errors.ts";
import { huffmanDecoded } from "./huffman.ts";
import { type Header, STATIC_HEADERS } from "./static-headers.ts";

/** In their order, repeated ones as often as they came. Text is latin1: bytes pass as they are. */
export type Headers = readonly Header[];

/** What a decoder's table may hold, by HTTP/2's default. */
const TABLE_BYTES = 4096;
/** What an entry counts beside its text. */
const ENTRY_BYTES = 32;

/**
 * One for each connection and direction: blocks must be decoded in the order they came.
 * INVARIANTS: after an error the table is not the peer's any more, so the connection must go.
 */
export class HeaderDecoder {
  readonly #maxListBytes: number;
  /** The newest is the last. */
  readonly #table: Header[] = [];
  #tableBytes = 0;
  #maxTableBytes = TABLE_BYTES;

  constructor({ maxListBytes }: { readonly maxListBytes: number }) {
    this.#maxListBytes = maxListBytes;
  }

  /** Undefined: more than the limit once decoded; a later block can still be read. @throws ConnectionError when malformed. */
  decode(block: Buffer): Headers | undefined {
    const headers: Header[] = [];
    const reader = new BlockReader(block);
    let listBytes = 0;
    while (!reader.isAtEnd) {
      const header = this.#next(reader, { isFirst: headers.length === 0 && listBytes === 0 });
      if (header === undefined) continue;
      listBytes += bytesOf(header);
      if (listBytes <= this.#maxListBytes) headers.push(header);
    }
    return listBytes <= this.#maxListBytes ? headers : undefined;
  }

  /** Undefined: it was about the table. */
  #next(reader: BlockReader, { isFirst }: { readonly isFirst: boolean }): Header | undefined {
    const kind = reader.peek();
    if (kind >= 0x80) return this.#at(reader.integer(7)); // a header by its number
    if (kind >= 0x40) return this.#insert(this.#literal(reader, 6));
    if (kind < 0x20) return this.#literal(reader, 4); // not to be kept
    if (!isFirst) throw malformed("the table's size is changed within it");
    this.#resize(reader.integer(5));
    return undefined;
  }

  #literal(reader: BlockReader, prefixBits: number): Header {
    const number = reader.integer(prefixBits);
    const name = number === 0 ? reader.text() : this.#at(number)[0];
    return [name, reader.text()];
  }

  #at(number: number): Header {
    const header =
      number <= STATIC_HEADERS.length
        ? STATIC_HEADERS[number - 1]
        : this.#table[this.#table.length - (number - STATIC_HEADERS.length)];
    if (header === undefined) throw malformed(`it has no header ${number}`);
    return header;
  }

  #insert(header: Header): Header {
    this.#table.push(header);
    this.#tableBytes += bytesOf(header);
    this.#evict();
    return header;
  }

  #resize(bytes: number): void {
    if (bytes > TABLE_BYTES) throw malformed(`a table of ${bytes} bytes, limit ${TABLE_BYTES}`);
    this.#maxTableBytes = bytes;
    this.#evict();
  }

  #evict(): void {
    while (this.#tableBytes > this.#maxTableBytes) this.#tableBytes -= bytesOf(this.#table.shift() as Header);
  }
}

/** A block that says all of it in itself. `isFirst`: of its connection, where it tells the peer to keep no table. */
export function encodeHeaders(headers: Headers, { isFirst }: { readonly isFirst: boolean }): Buffer {
  const maxBytes = headers.reduce((sum, [name, value]) => sum + name.length + value.length + MAX_INTEGER_BYTES * 3, 1);
  const writer = new BlockWriter(Buffer.allocUnsafe(maxBytes));
  if (isFirst) writer.integer(0, 5, 0x20);
  for (const [name, value] of headers) {
    const known = KNOWN.get(name);
    const whole = known?.values.get(value);
    if (whole !== undefined) {
      writer.integer(whole, 7, 0x80);
      continue;
    }
    writer.integer(known?.number ?? 0, 4, 0x10); // never to be kept in a table, wherever it goes from there
    if (known === undefined) writer.text(name);
    writer.text(value);
  }
  return writer.written();
}

/** A name's number, and those of the values that it has one with. */
const KNOWN = new Map<string, { readonly number: number; readonly values: Map<string, number> }>();
for (const [index, [name, value]] of STATIC_HEADERS.entries()) {
  const known = KNOWN.get(name) ?? { number: index + 1, values: new Map<string, number>() };
  KNOWN.set(name, known);
  if (value !== "") known.values.set(value, index + 1);
}

/** Of what we write and take. */
const MAX_INTEGER_BYTES = 5;

class BlockReader {
  readonly #block: Buffer;
  #at = 0;

  constructor(block: Buffer) {
    this.#block = block;
  }

  get isAtEnd(): boolean {
    return this.#at >= this.#block.length;
  }

  peek(): number {
    const byte = this.#block[this.#at];
    if (byte === undefined) throw malformed("it ends too early");
    return byte;
  }

  /** RFC 7541, section 5.1. */
  integer(prefixBits: number): number {
    const most = 2 ** prefixBits - 1;
    const start = this.#at;
    let value = this.#byte() & most;
    if (value < most) return value;
    for (let scale = 1; ; scale *= 128) {
      const byte = this.#byte();
      value += (byte & 0x7f) * scale;
      if (byte < 0x80) return value;
      if (this.#at - start >= MAX_INTEGER_BYTES) throw malformed("a number is too large");
    }
  }

  /** RFC 7541, section 5.2. */
  text(): string {
    const isCoded = this.peek() >= 0x80;
    const length = this.integer(7);
    const end = this.#at + length;
    if (end > this.#block.length) throw malformed("it ends too early");
    const start = this.#at;
    this.#at = end;
    if (!isCoded) return this.#block.toString("latin1", start, end);
    const text = huffmanDecoded(this.#block.subarray(start, end));
    if (text === undefined) throw malformed("a string is not Huffman's code");
    return text;
  }

  #byte(): number {
    const byte = this.peek();
    this.#at += 1;
    return byte;
  }
}

class BlockWriter {
  readonly #block: Buffer;
  #at = 0;

  constructor(block: Buffer) {
    this.#block = block;
  }

  integer(value: number, prefixBits: number, kind: number): void {
    const most = 2 ** prefixBits - 1;
    if (value < most) return this.#byte(kind | value);
    this.#byte(kind | most);
    let rest = value - most;
    for (; rest >= 0x80; rest = Math.floor(rest / 128)) this.#byte((rest % 128) | 0x80);
    this.#byte(rest);
  }

  text(text: string): void {
    this.integer(text.length, 7, 0);
    this.#at += this.#block.write(text, this.#at, "latin1");
  }

  written(): Buffer {
    return this.#block.subarray(0, this.#at);
  }

  #byte(byte: number): void {
    this.#block[this.#at] = byte;
    this.#at += 1;
  }
}

function bytesOf([name, value]: Header): number {
  return name.length + value.length + ENTRY_BYTES;
}

function malformed(why: string): ConnectionError {
  return new ConnectionError(ERROR.COMPRESSION_ERROR, `a header block cannot be read: ${why}`);
}
