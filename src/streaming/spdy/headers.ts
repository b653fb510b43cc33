// Header blocks of SPDY/3: pairs of strings in one zlib stream a direction.
//
// INVARIANTS: a block that unpacks to more than MAX_BLOCK_BYTES is given up while it unpacks; nothing is allocated by a
// length that was only claimed.

import { constants, createInflate } from "node:zlib";
import { DICTIONARY } from "./dictionary.ts";
import { SpdyError } from "./frames.ts";

export type Headers = ReadonlyMap<string, string>;

/** Kubernetes sends up to three pairs of some 20 characters. They are kept as long as their stream is. */
const MAX_BLOCK_BYTES = 4 << 10;
const MAX_HEADERS = 32;

/** Unpacks the blocks of one direction. */
export class HeaderReader implements Disposable {
  readonly #inflate = createInflate({ dictionary: DICTIONARY });
  readonly #over = Promise.withResolvers<void>();
  #chunks: Buffer[] = [];
  #bytes = 0;

  constructor() {
    this.#inflate.on("data", (chunk: Buffer) => this.#collect(chunk));
    this.#inflate.on("error", () => this.#over.resolve()).on("close", () => this.#over.resolve());
  }

  /** Calls MUST be made one at a time, in the order of the blocks. @throws SpdyError */
  async read(block: Buffer): Promise<Headers> {
    this.#chunks = [];
    this.#bytes = 0;
    const { promise: unpacked, resolve } = Promise.withResolvers<void>();
    this.#inflate.write(block);
    this.#inflate.flush(constants.Z_SYNC_FLUSH, () => resolve()); // behind what the write gives
    await Promise.race([unpacked, this.#over.promise]);
    const { errored, destroyed } = this.#inflate; // then the flush is called back, too
    if (errored instanceof SpdyError) throw errored;
    if (errored !== null) throw new SpdyError(`headers that do not unpack: ${errored.message}`, { cause: errored });
    if (destroyed) throw new SpdyError("the connection is closed");
    return parsePairs(Buffer.concat(this.#chunks));
  }

  [Symbol.dispose](): void {
    this.#inflate.destroy();
  }

  #collect(chunk: Buffer): void {
    this.#bytes += chunk.length;
    if (this.#bytes > MAX_BLOCK_BYTES)
      this.#inflate.destroy(new SpdyError(`headers of more than ${MAX_BLOCK_BYTES} bytes`));
    else this.#chunks.push(chunk);
  }
}

/** Packs the blocks of one direction, without compressing them: they are empty or short. */
export class HeaderWriter {
  #isFirst = true;

  write(headers: Headers): Buffer {
    const pairs = Buffer.concat([uint32(headers.size), ...[...headers].flatMap((pair) => pair.flatMap(sized))]);
    const block = Buffer.concat([storedBlockHeader(pairs.length), pairs, FLUSH]);
    if (!this.#isFirst) return block;
    this.#isFirst = false;
    return Buffer.concat([ZLIB_HEADER, block]);
  }
}

/** RFC 1950: deflate with a 32 KiB window, fastest, with a dictionary, and which one (its Adler-32). */
const ZLIB_HEADER = Buffer.from([0x78, 0x20, ...adler32(DICTIONARY)]);

/** RFC 1951: not the last block, stored; it ends on a whole byte, so the next one begins like this, too. */
function storedBlockHeader(lengthBytes: number): Buffer {
  const header = Buffer.alloc(5);
  header.writeUInt16LE(lengthBytes, 1);
  header.writeUInt16LE(~lengthBytes & 0xffff, 3);
  return header;
}

/** An empty block, as zlib writes when it is told to flush: Go's reader gives nothing out before it sees one. */
const FLUSH = storedBlockHeader(0);

function parsePairs(bytes: Buffer): Headers {
  let at = 0;
  const number = (): number => {
    if (at + 4 > bytes.length) throw new SpdyError("headers that end too early");
    at += 4;
    return bytes.readUInt32BE(at - 4);
  };
  const text = (): string => {
    const length = number();
    if (length > bytes.length - at) throw new SpdyError("headers that end too early");
    at += length;
    return bytes.toString("utf8", at - length, at);
  };
  const count = number();
  if (count > MAX_HEADERS) throw new SpdyError(`${count} headers`);
  const headers = new Map<string, string>();
  for (let i = 0; i < count; i += 1) headers.set(text().toLowerCase(), text());
  if (at !== bytes.length) throw new SpdyError("bytes behind the headers");
  return headers;
}

function adler32(bytes: Buffer): Buffer {
  let [low, high] = [1, 0];
  for (const byte of bytes) {
    low = (low + byte) % 65_521;
    high = (high + low) % 65_521;
  }
  return uint32(high * 65_536 + low);
}

function sized(word: string): Buffer[] {
  const bytes = Buffer.from(word);
  return [uint32(bytes.length), bytes];
}

function uint32(value: number): Buffer {
  const bytes = Buffer.allocUnsafe(4);
  bytes.writeUInt32BE(value);
  return bytes;
}
