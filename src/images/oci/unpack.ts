// Packed bytes as a stream of plain ones: gzip, zstd, or not packed at all, told by the first bytes.

import { type Readable } from "node:stream";
import { pipeline } from "node:stream/promises";
import { constants, createGunzip, createZstdDecompress } from "node:zlib";
import { startsWith } from "../foreign-formats.ts";
import { peek } from "../peek.ts";
import { refusedContent } from "./errors.ts";

const GZIP_MAGIC = [0x1f, 0x8b];
const ZSTD_MAGIC = [0x28, 0xb5, 0x2f, 0xfd];
/** What zstd may ask us to hold; its own default, which `--ultra` or `--long` may exceed. */
const ZSTD_WINDOW_LOG = 27;
const PIECE_BYTES = 256 * 1024;

/**
 * Reads `packed` to its end, also where what it holds ends before.
 * @param maxBytes What may come out of it.
 * @throws IMAGE_REFUSED, and what `packed` throws.
 */
export async function* unpacked(
  image: string,
  packed: AsyncIterable<Uint8Array>,
  maxBytes: number,
): AsyncGenerator<Uint8Array> {
  const { head, chunks } = await peek(packed, 4);
  const isGzip = startsWith(head, GZIP_MAGIC, 0);
  const isZstd = startsWith(head, ZSTD_MAGIC, 0);
  let length = 0;
  for await (const chunk of isGzip || isZstd ? through(image, chunks, isGzip ? "gzip" : "zstd") : chunks) {
    length += chunk.length;
    if (length > maxBytes)
      throw refusedContent(image, `a layer unpacks to more than ${maxBytes} bytes (maxImageBytes)`);
    yield chunk;
  }
}

async function* through(
  image: string,
  packed: AsyncIterable<Uint8Array>,
  packing: "gzip" | "zstd",
): AsyncGenerator<Uint8Array> {
  const source = new Noting(packed);
  const unpacking: NodeJS.ReadWriteStream & Readable =
    packing === "gzip"
      ? createGunzip({ chunkSize: PIECE_BYTES })
      : createZstdDecompress({ chunkSize: PIECE_BYTES, params: { [constants.ZSTD_d_windowLogMax]: ZSTD_WINDOW_LOG } });
  const feeding = pipeline(source, unpacking);
  feeding.catch(() => {}); // told below
  try {
    for await (const chunk of unpacking) yield chunk as Uint8Array;
    await feeding;
  } catch (error) {
    if (source.failure !== undefined) throw source.failure.error;
    const code = error instanceof Error && "code" in error ? String(error.code) : "unknown error";
    const why = code === "ABORT_ERR" ? "has other bytes behind its end" : `is broken (${code})`;
    throw refusedContent(image, `the ${packing} of a layer ${why}; push it again`);
  } finally {
    unpacking.destroy();
    await feeding.catch(() => {});
  }
}

/** Passes its source through and remembers if it failed: the stream behind may tell of its own failure instead. */
class Noting implements AsyncIterable<Uint8Array> {
  readonly source: AsyncIterable<Uint8Array>;
  failure: { readonly error: unknown } | undefined;

  constructor(source: AsyncIterable<Uint8Array>) {
    this.source = source;
  }

  async *[Symbol.asyncIterator](): AsyncGenerator<Uint8Array> {
    try {
      yield* this.source;
    } catch (error) {
      this.failure = { error };
      throw error;
    }
  }
}
