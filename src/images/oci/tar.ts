// Reads a tar archive as it streams by: ustar, with the long names and sizes of pax and GNU. Nothing is unpacked, and
// nothing but a header is ever held. Our own, because every length in it is a stranger's
// (docs/decisions/0007-own-tar-reader.md).

import { refusedContent } from "./errors.ts";

export interface TarEntry {
  /** Parts of the path: never empty ones, `.` or `..`. */
  readonly path: readonly string[];
  readonly kind: "file" | "folder" | "other";
  /** How the archive tells what it is: `0` file, `1` hard link, `2` symbolic link, `5` folder. */
  readonly typeFlag: string;
  readonly sizeBytes: number;
  /** Where in the archive its bytes begin. */
  readonly offsetBytes: number;
  /** What of it is not read is passed over. Not to be read any more once the next entry was asked for. */
  readonly chunks: AsyncIterable<Uint8Array>;
}

const BLOCK_BYTES = 512;
/** A path has at most 4 KiB, the attributes of a file 64; what is longer would only keep everybody else waiting. */
const MAX_EXTENDED_BYTES = 256 * 1024;
/** PATH_MAX. */
const MAX_PATH_CHARS = 4096;

/** Links, devices, folders and pipes: whatever size such an entry tells, no bytes follow, as for Go, which reads most layers. */
const HEADER_ONLY: ReadonlySet<string> = new Set(["1", "2", "3", "4", "5", "6"]);

/** What an extended header says of the entry behind it. */
interface Extended {
  path?: string;
  sizeBytes?: number;
  isSparse?: boolean;
}

/** Shared by the archives of one image: each header takes its time, and a million of them pack into a megabyte. */
export interface TarBudget {
  /** That may still be read. */
  headers: number;
}

/**
 * The archive's entries in order. Reads `chunks` to their end.
 * @throws IMAGE_REFUSED for what is no tar, and what `chunks` throws.
 */
export async function* readTar(
  image: string,
  chunks: AsyncIterable<Uint8Array>,
  budget: TarBudget,
): AsyncGenerator<TarEntry> {
  await using bytes = new ByteReader(image, chunks);
  let extended: Extended = {};
  for (;;) {
    const block = await bytes.block();
    if (block === undefined) return;
    if (block.every((byte) => byte === 0)) return await bytes.skipAll();
    take(budget, image);
    const header = readHeader(image, block);
    const { typeFlag } = header;
    if (typeFlag === "x" || typeFlag === "L" || typeFlag === "K") {
      if (header.sizeBytes > MAX_EXTENDED_BYTES) throw broken(image, "an extended header is too long");
      const data = await bytes.exactly(header.sizeBytes);
      if (typeFlag === "x") extended = { ...extended, ...readPax(image, data) };
      if (typeFlag === "L") extended.path = untilNul(data);
      await bytes.skip(paddingOf(header.sizeBytes));
      continue;
    }
    const sizeBytes = HEADER_ONLY.has(typeFlag) ? 0 : (extended.sizeBytes ?? header.sizeBytes);
    const text = extended.path ?? header.path;
    const isSparse = typeFlag === "S" || extended.isSparse === true;
    extended = {};
    if (typeFlag === "S") await skipSparseMap(block, bytes, image, budget);
    const body = bytes.next(sizeBytes);
    if (typeFlag !== "g") {
      const flag = isSparse ? "S" : typeFlag;
      const offsetBytes = bytes.takenBytes;
      const path = readPath(image, text);
      yield { path, kind: kindOf(flag, text), typeFlag: flag, sizeBytes, offsetBytes, chunks: body.chunks };
    }
    await bytes.skip(body.left() + paddingOf(sizeBytes));
  }
}

function take(budget: TarBudget, image: string): void {
  if (budget.headers-- <= 0) throw refusedContent(image, "its layers have far too many entries");
}

/** GNU's old format: where the parts of a sparse file are goes on behind its header, and is not counted in its size. */
async function skipSparseMap(header: Buffer, bytes: ByteReader, image: string, budget: TarBudget): Promise<void> {
  for (let hasMore = header[482] === 1; hasMore; ) {
    take(budget, image);
    hasMore = (await bytes.exactly(BLOCK_BYTES))[504] === 1;
  }
}

const paddingOf = (sizeBytes: number): number => (BLOCK_BYTES - (sizeBytes % BLOCK_BYTES)) % BLOCK_BYTES;

function kindOf(typeFlag: string, path: string): TarEntry["kind"] {
  if (typeFlag === "5") return "folder";
  // Before POSIX, a folder was a file whose name ends in a slash.
  if (typeFlag === "0" || typeFlag === "\0" || typeFlag === "7") return path.endsWith("/") ? "folder" : "file";
  return "other";
}

function readPath(image: string, text: string): readonly string[] {
  const parts = text.split("/").filter((part) => part !== "" && part !== ".");
  if (text.length > MAX_PATH_CHARS) throw broken(image, `a path is longer than ${MAX_PATH_CHARS} characters`);
  if (parts.includes("..")) throw broken(image, 'a path has ".." in it');
  return parts;
}

function readHeader(image: string, block: Buffer): { path: string; sizeBytes: number; typeFlag: string } {
  const sum = block.reduce((total, byte, index) => total + (index >= 148 && index < 156 ? 0x20 : byte), 0);
  if (sum !== readNumber(image, block.subarray(148, 156))) throw broken(image, "a header's checksum is wrong");
  const name = untilNul(block.subarray(0, 100));
  // GNU's own format keeps something else where ustar has the beginning of a long path.
  const prefix = block.toString("latin1", 257, 263) === "ustar\0" ? untilNul(block.subarray(345, 500)) : "";
  return {
    path: prefix === "" ? name : `${prefix}/${name}`,
    sizeBytes: readNumber(image, block.subarray(124, 136)),
    typeFlag: String.fromCharCode(block[156] ?? 0),
  };
}

/** Octal text, or base 256 when the first bit is set. */
function readNumber(image: string, field: Buffer): number {
  const first = field[0] ?? 0;
  if ((first & 0x80) === 0) {
    const text = field
      .toString("latin1")
      .replace(/[\0 ]+$/, "")
      .trimStart();
    if (!/^[0-7]*$/.test(text)) throw broken(image, "a header's number cannot be read");
    return text === "" ? 0 : Number.parseInt(text, 8);
  }
  const value = field.subarray(1).reduce((total, byte) => total * 256 + byte, first & 0x7f);
  if (!Number.isSafeInteger(value)) throw broken(image, "a file's size cannot be");
  return value;
}

/** `<length> <key>=<value>\n`, again and again; the length counts itself. Of most nothing but the length is looked at. */
function readPax(image: string, data: Buffer): Extended {
  const extended: Extended = {};
  for (let at = 0; at < data.length; ) {
    const { value: length, to: space } = readDigits(data, at);
    const end = at + length;
    if (space === at || data[space] !== SPACE || end <= space + 1 || end > data.length || data[end - 1] !== NEWLINE) {
      throw broken(image, "an extended header cannot be read");
    }
    const key = data.toString("latin1", space + 1, Math.min(end, space + 1 + LONGEST_KEY.length));
    if (key.startsWith("path=")) extended.path = data.toString("utf8", space + 6, end - 1);
    if (key.startsWith("size=")) extended.sizeBytes = readPaxSize(image, data.toString("latin1", space + 6, end - 1));
    if (key === LONGEST_KEY) extended.isSparse = true;
    at = end;
  }
  return extended;
}

const SPACE = 0x20;
const NEWLINE = 0x0a;
const LONGEST_KEY = "GNU.sparse.";

function readDigits(data: Buffer, from: number): { readonly value: number; readonly to: number } {
  let value = 0;
  let to = from;
  for (let byte = data[to] ?? 0; byte >= 0x30 && byte <= 0x39 && to - from < 8; byte = data[to] ?? 0) {
    value = value * 10 + byte - 0x30;
    to++;
  }
  return { value, to };
}

function readPaxSize(image: string, value: string): number {
  const size = /^\d{1,16}$/.test(value) ? Number(value) : Number.NaN;
  if (!Number.isSafeInteger(size)) throw broken(image, "a file's size cannot be");
  return size;
}

function untilNul(bytes: Buffer): string {
  const end = bytes.indexOf(0);
  return bytes.toString("utf8", 0, end < 0 ? bytes.length : end);
}

const broken = (image: string, why: string): Error => refusedContent(image, `a layer is no tar archive: ${why}`);

/** Takes so many bytes at a time out of a stream that comes in pieces. */
class ByteReader implements AsyncDisposable {
  readonly #image: string;
  readonly #source: AsyncIterator<Uint8Array>;
  #rest: Uint8Array = new Uint8Array();
  #takenBytes = 0;

  constructor(image: string, chunks: AsyncIterable<Uint8Array>) {
    this.#image = image;
    this.#source = chunks[Symbol.asyncIterator]();
  }

  get takenBytes(): number {
    return this.#takenBytes;
  }

  /** Undefined at the end of the stream. */
  async block(): Promise<Buffer | undefined> {
    const first = await this.#upTo(BLOCK_BYTES);
    if (first === undefined) return undefined;
    return first.length === BLOCK_BYTES
      ? Buffer.from(first.buffer, first.byteOffset, first.length)
      : Buffer.concat([first, await this.exactly(BLOCK_BYTES - first.length)]);
  }

  async exactly(length: number): Promise<Buffer> {
    const pieces: Uint8Array[] = [];
    for await (const piece of this.next(length).chunks) pieces.push(piece);
    return Buffer.concat(pieces);
  }

  async skip(length: number): Promise<void> {
    for await (const _piece of this.next(length).chunks);
  }

  async skipAll(): Promise<void> {
    while ((await this.#upTo(Number.MAX_SAFE_INTEGER)) !== undefined);
  }

  next(length: number): { readonly chunks: AsyncIterable<Uint8Array>; readonly left: () => number } {
    let left = length;
    const take = async (): Promise<Uint8Array | undefined> => {
      if (left === 0) return undefined;
      const piece = await this.#upTo(left);
      if (piece === undefined) throw broken(this.#image, "it ends in the middle");
      left -= piece.length;
      return piece;
    };
    async function* chunks(): AsyncGenerator<Uint8Array> {
      for (let piece = await take(); piece !== undefined; piece = await take()) yield piece;
    }
    return { chunks: chunks(), left: () => left };
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#source.return?.();
  }

  /** The next piece, not empty, and not longer than that. */
  async #upTo(length: number): Promise<Uint8Array | undefined> {
    while (this.#rest.length === 0) {
      const next = await this.#source.next();
      if (next.done === true) return undefined;
      this.#rest = next.value;
    }
    const piece = this.#rest.subarray(0, length);
    this.#rest = this.#rest.subarray(piece.length);
    this.#takenBytes += piece.length;
    return piece;
  }
}
