// Reads one file over several connections where one is not enough, in order, within 10 MiB of memory.

import { sleepMs } from "../lib/backoff.ts";
import { VmletError } from "../model/failure.ts";
import type { Body } from "./byte-source.ts";
import { Pace } from "./pace.ts";

/** What one connection is asked for at a time; so much of it may wait in memory for those before it. */
const RANGE_BYTES = 2 * 1024 * 1024;
const MAX_STREAMS = 4;
/** So many were open at once when the first range was tried beside the stream that it began with. */
const LEAST_STREAMS = 2;
/** What is given on at a time, at most. */
const PIECE_BYTES = 256 * 1024;
const RETRIES = 3;

export interface RangeTiming {
  /** Between two decisions about another connection. */
  readonly periodMs: number;
  /** Before a range is asked for a second time; twice that before the third, and so on. */
  readonly retryMs: number;
}

export const RANGE_TIMING: RangeTiming = { periodMs: 1000, retryMs: 500 };

type ReadRange = NonNullable<Body["readRange"]>;

/**
 * The body's bytes. Begins with the one stream that is open; while the source is what is waited for, and each new
 * connection makes it faster, ranges are read beside each other.
 */
export function overConnections(body: Body, timing: RangeTiming, signal: AbortSignal): AsyncIterable<Uint8Array> {
  const { chunks, fromBytes, lengthBytes, readRange } = body;
  if (lengthBytes === undefined || readRange === undefined) return chunks;
  return begin(chunks, { fromBytes, lengthBytes, readRange, timing }, signal);
}

interface Extent {
  readonly fromBytes: number;
  readonly lengthBytes: number;
  readonly readRange: ReadRange;
  readonly timing: RangeTiming;
}

async function* begin(
  chunks: AsyncIterable<Uint8Array>,
  { fromBytes, lengthBytes, readRange, timing }: Extent,
  signal: AbortSignal,
): AsyncGenerator<Uint8Array, void, undefined> {
  const pace = new Pace(timing.periodMs);
  const single = chunks[Symbol.asyncIterator]();
  let position = fromBytes;
  try {
    for (let next = await pace.waiting(single.next()); next.done !== true; next = await pace.waiting(single.next())) {
      position += next.value.length;
      pace.got(next.value.length);
      yield next.value;
      if (!pace.wantsMore() || lengthBytes - position < MAX_STREAMS * RANGE_BYTES) continue;
      await using ranges = new Ranges({ fromBytes: position, lengthBytes, readRange, timing }, pace, signal);
      if (!(await ranges.isServed())) {
        pace.stop(); // the source does not do what it says: one stream it is
        continue;
      }
      await single.return?.();
      yield* ranges.chunks();
      return;
    }
  } finally {
    await single.return?.();
  }
}

/**
 * The rest of a file, as many ranges of it at a time as there are streams. Dispose it to close them.
 * INVARIANT: a range's memory is that of another one only when all of the range behind it has been taken: whoever reads
 * may look back so far.
 */
class Ranges implements AsyncDisposable {
  readonly #extent: Extent;
  readonly #pace: Pace;
  readonly #abort = new AbortController();
  readonly #signal: AbortSignal;
  /** In order; the first is the one being read. */
  readonly #open: Range[] = [];
  /** Pieces as they come from a socket would wait long enough to be garbage that V8 seldom collects. */
  readonly #free: Uint8Array[] = [];
  #lastRead: Range | undefined;
  #nextBytes: number;
  #streams = LEAST_STREAMS;

  constructor(extent: Extent, pace: Pace, signal: AbortSignal) {
    this.#extent = extent;
    this.#pace = pace;
    this.#nextBytes = extent.fromBytes;
    this.#signal = AbortSignal.any([signal, this.#abort.signal]);
    this.#openOne({ isTrial: true });
  }

  /** Whether the source serves the first of them. */
  async isServed(): Promise<boolean> {
    return (await this.#open[0]?.hasBytes()) ?? false;
  }

  async *chunks(): AsyncGenerator<Uint8Array, void, undefined> {
    const pace = this.#pace;
    this.#fill();
    for (let range = this.#open[0]; range !== undefined; range = this.#open[0]) {
      for (
        let chunk = await pace.waiting(range.next());
        chunk !== undefined;
        chunk = await pace.waiting(range.next())
      ) {
        pace.got(chunk.length);
        yield chunk;
        if (this.#streams < MAX_STREAMS && pace.wantsMore()) this.#streams++;
        this.#fill();
      }
      if (this.#lastRead !== undefined) this.#free.push(this.#lastRead.memory);
      this.#lastRead = this.#open.shift();
      this.#fill();
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#abort.abort();
    await Promise.all(this.#open.map(async (range) => range.ended));
  }

  #fill(): void {
    while (this.#open.length < this.#streams && this.#nextBytes < this.#extent.lengthBytes) this.#openOne();
  }

  #openOne(how: { readonly isTrial: boolean } = { isTrial: false }): void {
    const fromBytes = this.#nextBytes;
    this.#nextBytes = Math.min(fromBytes + RANGE_BYTES, this.#extent.lengthBytes);
    const memory = this.#free.pop() ?? Buffer.allocUnsafeSlow(RANGE_BYTES);
    const place = { fromBytes, toBytes: this.#nextBytes, memory };
    this.#open.push(new Range(this.#extent, place, { ...how, onRefused: this.#onRefused }, this.#signal));
  }

  /** The source may allow fewer connections than we want. Waits until one of those before `range` has ended. */
  readonly #onRefused = async (range: Range): Promise<void> => {
    this.#streams = Math.max(LEAST_STREAMS, this.#streams - 1);
    this.#pace.stop();
    const before = this.#open.slice(0, this.#open.indexOf(range));
    if (before.length > 0) await Promise.race(before.map(async ({ ended }) => ended));
  };
}

interface Place {
  readonly fromBytes: number;
  readonly toBytes: number;
  /** Where it is kept: of its length at least. */
  readonly memory: Uint8Array;
}

interface HowRead {
  /** Is not tried again. */
  readonly isTrial: boolean;
  /** Not a byte came. To be waited for before the next try. */
  readonly onRefused: (range: Range) => Promise<void>;
}

/** One range, read into memory ahead of whoever wants it. */
class Range {
  /** Resolves when nothing more will come, however it ended. */
  readonly ended: Promise<void>;
  readonly memory: Uint8Array;
  /** Of the memory: so much has come, */
  #filled = 0;
  /** and so much of it was given on. */
  #taken = 0;
  #failure: { readonly error: unknown } | undefined;
  #isWhole = false;
  #changed = Promise.withResolvers<void>();

  constructor(extent: Extent, place: Place, how: HowRead, signal: AbortSignal) {
    this.memory = place.memory;
    this.ended = this.#read(extent, place, how, signal);
  }

  async hasBytes(): Promise<boolean> {
    while (this.#taken === this.#filled && !this.#isWhole && this.#failure === undefined) await this.#changed.promise;
    return this.#taken < this.#filled;
  }

  /** Nothing behind the last. */
  async next(): Promise<Uint8Array | undefined> {
    if (await this.hasBytes()) {
      const from = this.#taken;
      this.#taken = Math.min(this.#filled, from + PIECE_BYTES);
      return this.memory.subarray(from, this.#taken);
    }
    if (this.#failure !== undefined) throw this.#failure.error;
    return undefined;
  }

  async #read(
    { readRange, timing }: Extent,
    { fromBytes, toBytes }: Place,
    { isTrial, onRefused }: HowRead,
    signal: AbortSignal,
  ): Promise<void> {
    const mostRetries = isTrial ? 0 : RETRIES;
    for (let retries = 0; ; retries++) {
      try {
        for await (const chunk of readRange(fromBytes + this.#filled, toBytes, signal)) {
          const wanted = chunk.subarray(0, toBytes - fromBytes - this.#filled);
          this.memory.set(wanted, this.#filled);
          this.#filled += wanted.length;
          this.#tell();
          if (wanted.length < chunk.length) break; // more than was asked for, perhaps without end
        }
        this.#isWhole = true;
        return this.#tell();
      } catch (error) {
        if (signal.aborted || retries === mostRetries || !isPassing(error)) {
          this.#failure = { error };
          return this.#tell();
        }
      }
      if (this.#filled === 0) await onRefused(this);
      await sleepMs(timing.retryMs * 2 ** retries, signal).catch(() => {}); // the next try tells
    }
  }

  #tell(): void {
    this.#changed.resolve();
    this.#changed = Promise.withResolvers();
  }
}

const isPassing = (error: unknown): boolean =>
  error instanceof VmletError && error.failure.code === "IMAGE_SOURCE_UNAVAILABLE";
