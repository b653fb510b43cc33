// Packed bytes as a stream of plain ones: gzip, xz and zstd, told by their first bytes, stopped when absurd.

import type { Readable, Writable } from "node:stream";
import { pipeline } from "node:stream/promises";
import { constants, createGunzip, createZstdDecompress } from "node:zlib";
import { VmletError } from "../model/failure.ts";
import { startsWith } from "./foreign-formats.ts";
import { peek } from "./peek.ts";
import { spawnXz } from "./xz.ts";

type Packing = "gzip" | "xz" | "zstd";

export interface UnpackLimits {
  /** That may come out. */
  readonly maxVirtualSizeBytes: number;
  /** Makes a failure of what was found: `is broken gzip data (…)`. */
  readonly refuse: (finding: string) => Error;
  /** Sees the bytes that are unpacked on their way. */
  readonly watch?: (packed: AsyncIterable<Uint8Array>) => AsyncIterable<Uint8Array>;
}

export interface Unpacked {
  readonly isPacked: boolean;
  /** How many plain bytes there are, as whoever packed them says; absent: nobody says. */
  readonly toldBytes?: number;
  /** The plain bytes. */
  readonly chunks: AsyncIterable<Uint8Array>;
}

/** Beyond the first GiB nothing honest packs better. */
const MAX_RATIO = 1000;
/** But for the zeros of a large disk with little in it, which cost time and no room: zstd packs them 30,000 to 1. */
const MAX_ZEROS_RATIO = 10_000;
const FREE_BYTES = 1024 ** 3;
/** What zstd may ask us to hold: 128 MiB, its own default limit, which `--ultra` and `--long` may exceed. */
const ZSTD_WINDOW_LOG = 27;
const PIECE_BYTES = 256 * 1024;
/** What the longest beginning has that tells of the whole: zstd's. */
const HEAD_BYTES = 18;

const ZSTD_FRAME: readonly number[] = [0x28, 0xb5, 0x2f, 0xfd];
/** The first byte of a frame to skip, RFC 8878, section 3.1.2; pzstd begins with one. */
const ZSTD_SKIPPABLE = Array.from({ length: 16 }, (_, kind) => 0x50 + kind);

const MAGICS: readonly { readonly packing: Packing; readonly bytes: readonly number[] }[] = [
  { packing: "gzip", bytes: [0x1f, 0x8b, 0x08] },
  { packing: "xz", bytes: [0xfd, 0x37, 0x7a, 0x58, 0x5a, 0x00] },
  { packing: "zstd", bytes: ZSTD_FRAME },
  ...ZSTD_SKIPPABLE.map((first) => ({ packing: "zstd", bytes: [first, 0x2a, 0x4d, 0x18] }) as const),
];

/**
 * Looks at the first bytes, and unpacks (once) what is packed. Whoever stops reading stops the unpacking.
 * @throws what `refuse` makes (broken, too large, a bomb), TOOL_FAILED (no xz program), and what `wire` throws.
 */
export async function unpack(
  wire: AsyncIterable<Uint8Array>,
  limits: UnpackLimits,
  signal: AbortSignal,
): Promise<Unpacked> {
  const { head, chunks } = await peek(wire, HEAD_BYTES);
  const packing = MAGICS.find(({ bytes }) => startsWith(head, bytes, 0))?.packing;
  if (packing === undefined) return { isPacked: false, chunks };
  const toldBytes = startsWith(head, ZSTD_FRAME, 0) ? sizeByZstd(head) : undefined;
  return {
    isPacked: true,
    chunks: unpacked(packing, limits.watch?.(chunks) ?? chunks, limits, signal),
    ...(toldBytes === undefined ? {} : { toldBytes }),
  };
}

/** RFC 8878, section 3.1.1.1: the header of the first frame. Its fields have lengths that its descriptor tells. */
function sizeByZstd(head: Uint8Array): number | undefined {
  const view = new DataView(head.buffer, head.byteOffset, head.byteLength);
  const descriptor = view.byteLength > 4 ? view.getUint8(4) : 0;
  const isSingleSegment = (descriptor & 0x20) !== 0;
  const dictionaryBytes = [0, 1, 2, 4][descriptor & 3] ?? 0;
  const at = 5 + (isSingleSegment ? 0 : 1) + dictionaryBytes;
  const sizeBytes = [isSingleSegment ? 1 : 0, 2, 4, 8][descriptor >> 6] ?? 0;
  if (sizeBytes === 0 || at + sizeBytes > view.byteLength) return undefined;
  if (sizeBytes === 1) return view.getUint8(at);
  if (sizeBytes === 2) return view.getUint16(at, true) + 256;
  return sizeBytes === 4 ? view.getUint32(at, true) : Number(view.getBigUint64(at, true));
}

async function* unpacked(
  packing: Packing,
  packed: AsyncIterable<Uint8Array>,
  { maxVirtualSizeBytes, refuse }: UnpackLimits,
  signal: AbortSignal,
): AsyncGenerator<Uint8Array, void, undefined> {
  const source = new Counted(packed);
  let outBytes = 0;
  let zeroBytes = 0;
  for await (const chunk of through(packing, source, refuse, signal)) {
    outBytes += chunk.length;
    if (isZero(chunk)) zeroBytes += chunk.length;
    if (outBytes > maxVirtualSizeBytes) {
      throw refuse(`unpacks to more than ${maxVirtualSizeBytes} bytes (maxVirtualSizeBytes)`);
    }
    const leastBytes = (outBytes - zeroBytes) / MAX_RATIO + zeroBytes / MAX_ZEROS_RATIO;
    if (outBytes > FREE_BYTES && source.bytes < leastBytes) {
      throw refuse(`unpacks to more than ${MAX_RATIO} times its size; it is taken for a bomb`);
    }
    yield chunk;
  }
}

const ZEROS = Buffer.alloc(PIECE_BYTES);

const isZero = (bytes: Uint8Array): boolean =>
  bytes.length <= ZEROS.length && ZEROS.subarray(0, bytes.length).equals(bytes);

async function* through(
  packing: Packing,
  source: Counted,
  refuse: UnpackLimits["refuse"],
  signal: AbortSignal,
): AsyncGenerator<Uint8Array, void, undefined> {
  await using child = packing === "xz" ? spawnXz(refuse, signal) : undefined;
  const { input, output } = child ?? native(packing === "gzip" ? "gzip" : "zstd");
  const feeding = pipeline(inPieces(source), input);
  feeding.catch(() => {}); // told below
  try {
    for await (const chunk of output) yield chunk as Uint8Array;
    await feeding;
    await child?.end();
  } catch (error) {
    signal.throwIfAborted();
    if (source.failure !== undefined) throw source.failure.error;
    if (error instanceof VmletError) throw error;
    await child?.end();
    const code = error instanceof Error && "code" in error ? String(error.code) : "unknown error";
    throw refuse(
      code === "ABORT_ERR" ? `has other bytes behind its ${packing}` : `is broken ${packing} data (${code})`,
    );
  } finally {
    output.destroy();
    input.destroy();
    await feeding.catch(() => {}); // the source is closed
  }
}

/** Each piece costs a turn of the thread that unpacks, however small it is. */
async function* inPieces(source: AsyncIterable<Uint8Array>): AsyncGenerator<Uint8Array, void, undefined> {
  const piece = Buffer.allocUnsafeSlow(PIECE_BYTES);
  let filled = 0;
  for await (const chunk of source) {
    for (let taken = 0; taken < chunk.length; ) {
      const part = chunk.subarray(taken, taken + PIECE_BYTES - filled);
      piece.set(part, filled);
      taken += part.length;
      filled += part.length;
      if (filled < PIECE_BYTES) continue;
      yield piece; // so long that a stream takes all of it before it wants more
      filled = 0;
    }
  }
  if (filled > 0) yield piece.subarray(0, filled);
}

function native(packing: "gzip" | "zstd"): { readonly input: Writable; readonly output: Readable } {
  if (packing === "gzip") {
    const gunzip = createGunzip({ chunkSize: PIECE_BYTES });
    return { input: gunzip, output: gunzip };
  }
  const params = { [constants.ZSTD_d_windowLogMax]: ZSTD_WINDOW_LOG };
  const unzstd = createZstdDecompress({ chunkSize: PIECE_BYTES, params });
  return { input: unzstd, output: unzstd };
}

/** Passes its source through and remembers how it failed: the stream behind it may tell of its own failure instead. */
class Counted implements AsyncIterable<Uint8Array> {
  readonly #source: AsyncIterable<Uint8Array>;
  bytes = 0;
  failure: { readonly error: unknown } | undefined;

  constructor(source: AsyncIterable<Uint8Array>) {
    this.#source = source;
  }

  async *[Symbol.asyncIterator](): AsyncGenerator<Uint8Array, void, undefined> {
    try {
      for await (const chunk of this.#source) {
        this.bytes += chunk.length;
        yield chunk;
      }
    } catch (error) {
      this.failure = { error };
      throw error;
    }
  }
}
