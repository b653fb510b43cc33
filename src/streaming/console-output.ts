// What a guest prints, for one client: read from the console's file, at the client's own pace. The file has all of it in
// order, so who is slow disturbs nobody; who is too slow skips.

import { type FileHandle, open } from "node:fs/promises";
import type { Writable } from "node:stream";
import { FileChanges } from "../lib/file-changes.ts";
import { untilAborted } from "../lib/keyed-lock.ts";

export interface ConsoleOutput {
  readonly path: string;
  readonly to: Writable;
  /** The first byte to copy; absent: the last screenful first. */
  readonly offset?: number;
  /** Aborted when nothing more will be printed; what is in the file by then is still copied. */
  readonly ended: AbortSignal;
}

/** A screenful: what a client sees of the time before it came. */
const REPLAY_LINES = 25;
const REPLAY_BYTES = 8 << 10;
/** Who is further behind than this loses what is in between. The file keeps at least twice as much: console.replayBytes. */
const MAX_BEHIND_BYTES = 512 << 10;
const PIECE_BYTES = 32 << 10;
const SEARCHED_BYTES = 256 << 10;
/** How often a silent file is looked at although no event came. */
const SAFETY_POLL_MS = 2_000;
/** How often one that grows is. */
const COPY_EVERY_MS = 10;
/** For looks that read much. */
const SEARCH_EVERY_MS = 100;
const NEWLINE = 10;

/** Resolves when the console has ended and all of it is with the client; rejects when aborted or the client broke. */
export async function copyConsole(
  { path, to, ended, offset: from }: ConsoleOutput,
  signal: AbortSignal,
): Promise<void> {
  signal.throwIfAborted();
  await using file = await open(path, "r");
  const changes = changesOf(path, file, COPY_EVERY_MS, AbortSignal.any([signal, ended]));
  const piece = Buffer.allocUnsafeSlow(PIECE_BYTES);
  let offset = from ?? (await replayStart(file));
  for (;;) {
    const isEnded = ended.aborted; // asked before the size: what it had then is all
    const { size } = await file.stat();
    if (size < offset) offset = size; // somebody emptied it
    if (size - offset > MAX_BEHIND_BYTES) {
      const resumeAt = size - REPLAY_BYTES;
      await write(to, Buffer.from(`\r\n[vmlet: ${resumeAt - offset} bytes of the console skipped]\r\n`), signal);
      offset = resumeAt;
    }
    const { bytesRead } = await file.read(piece, 0, Math.min(PIECE_BYTES, size - offset), offset);
    offset += bytesRead;
    if (bytesRead > 0) await write(to, piece.subarray(0, bytesRead), signal);
    signal.throwIfAborted();
    if (offset < size) continue;
    if (isEnded) return;
    await changes.next(size); // also after each byte of a guest that prints without end
    signal.throwIfAborted();
  }
}

/** Waits for a line of ours; resolves to where the console goes on behind the newest one, or to its end when it has ended. */
export async function behindLine(
  { path, ended }: Pick<ConsoleOutput, "path" | "ended">,
  line: string,
  signal: AbortSignal,
): Promise<number> {
  signal.throwIfAborted();
  await using file = await open(path, "r");
  const changes = changesOf(path, file, SEARCH_EVERY_MS, AbortSignal.any([signal, ended]));
  for (;;) {
    const isEnded = ended.aborted;
    const { size } = await file.stat();
    const length = Math.min(size, SEARCHED_BYTES);
    const { buffer } = await file.read(Buffer.alloc(length), 0, length, size - length);
    const at = buffer.lastIndexOf(line);
    if (at >= 0) return size - length + at + line.length;
    if (isEnded) return size;
    await changes.next(size);
    signal.throwIfAborted();
  }
}

/** Where the last lines begin. */
async function replayStart(file: FileHandle): Promise<number> {
  const { size } = await file.stat();
  const length = Math.min(size, REPLAY_BYTES);
  const { buffer } = await file.read(Buffer.alloc(length), 0, length, size - length);
  let at = buffer.length - 1; // an end of line there begins no line
  for (let lines = 0; lines < REPLAY_LINES; lines += 1) {
    const before = at > 0 ? buffer.lastIndexOf(NEWLINE, at - 1) : -1;
    if (before === -1) return size - length + (size > length ? restOfLine(buffer) : 0);
    at = before;
  }
  return size - length + at + 1;
}

/** Bytes of a line that begins before `buffer`; none if it is all one line. */
function restOfLine(buffer: Buffer): number {
  const end = buffer.indexOf(NEWLINE) + 1;
  return end === buffer.length ? 0 : end;
}

/** Its promise is settled when the bytes' memory is ours again. */
async function write(to: Writable, bytes: Buffer, signal: AbortSignal): Promise<void> {
  const { promise, resolve, reject } = Promise.withResolvers<void>();
  to.write(bytes, (error) => (error ? reject(error) : resolve()));
  await untilAborted(promise, signal);
}

/** @param growingMs Milliseconds between two looks at one that grows. */
function changesOf(path: string, file: FileHandle, growingMs: number, wakeUp: AbortSignal): FileChanges {
  const sizeBytes = async (): Promise<number> => (await file.stat()).size;
  return new FileChanges({ path, sizeBytes, growingMs, silentMs: SAFETY_POLL_MS, unwatchedMs: SAFETY_POLL_MS }, wakeUp);
}
