// Moves the bytes of one console file into its log, a bounded piece at a time. No timers here: tail.ts says when.
//
// INVARIANTS: the log is written first, then the position. So after a crash the log is at most ahead of the position,
// and cutting it back to the recorded size and reading again from the recorded offset loses and repeats nothing.
// Only bytes before the *saved* position are punched out.

import { type FileHandle, open } from "node:fs/promises";
import { errorCodeOf } from "../lib/error-code.ts";
import type { Clock } from "../ports/clock.ts";
import type { ConsoleLogRequest } from "../ports/console-log.ts";
import type { Logger } from "../ports/logger.ts";
import { encodeLines, type Flush, markerLine } from "./cri-lines.ts";
import { HolePunch } from "./hole-punch.ts";
import { LogFile, reconcile } from "./log-file.ts";
import type { ConsoleOptions } from "./options.ts";
import { loadPosition, type Position, START, savePosition } from "./position.ts";

export interface Step {
  /** Whether all that was in the console file was looked at. */
  readonly isCaughtUp: boolean;
  /** Bytes looked at and not yet written: an unfinished line. */
  readonly waitingBytes: number;
  /** Length of the console file. */
  readonly sourceBytes: number;
}

export interface CopierParts {
  readonly clock: Clock;
  readonly log: Logger;
}

/** Calls MUST be made one at a time. */
export class Copier implements AsyncDisposable {
  readonly #request: ConsoleLogRequest;
  readonly #options: ConsoleOptions;
  readonly #parts: CopierParts;
  readonly #punch: HolePunch;
  #position: Position = START;
  #isSaveFailing = false;
  #savedOffset = 0;
  #source: FileHandle | undefined;
  #log: LogFile | undefined;

  private constructor(request: ConsoleLogRequest, options: ConsoleOptions, parts: CopierParts) {
    this.#request = request;
    this.#options = options;
    this.#parts = parts;
    const { punchBatchBytes: batchBytes, replayBytes: keepBytes } = options;
    this.#punch = new HolePunch(request.consoleFilePath, { batchBytes, keepBytes });
  }

  /** Takes up the saved position; does not touch the log yet. */
  static async open(request: ConsoleLogRequest, options: ConsoleOptions, parts: CopierParts): Promise<Copier> {
    const copier = new Copier(request, options, parts);
    try {
      copier.#position = (await loadPosition(request.positionPath)) ?? START;
    } catch (error) {
      parts.log.error("console position is lost; going on at the end of the console", {
        path: request.positionPath,
        error,
      });
      const sourceBytes = await copier.#sourceBytes();
      copier.#position = { ...START, sourceOffset: sourceBytes, droppedBytes: sourceBytes };
    }
    copier.#savedOffset = copier.#position.sourceOffset;
    return copier;
  }

  /** Reads one piece and writes what it can. Throws when the log cannot be written; nothing is lost then. */
  async step(flush: Flush): Promise<Step> {
    const sourceBytes = await this.#sourceBytes();
    if (this.#request.logPath === "") return this.#drain(sourceBytes);
    await this.#keepUp(sourceBytes);
    const { sourceOffset, droppedBytes } = this.#position;
    const log = await this.#openLog();
    if (sourceBytes === sourceOffset && droppedBytes === 0) return { isCaughtUp: true, waitingBytes: 0, sourceBytes };
    const bytes = await this.#read(sourceOffset, Math.min(this.#options.readBytes, sourceBytes - sourceOffset));
    const isCaughtUp = sourceOffset + bytes.length >= sourceBytes;
    const nowMs = this.#parts.clock.nowMs();
    const { maxLineBytes } = this.#options;
    const encoded = encodeLines(bytes, { nowMs, maxLineBytes, flush: isCaughtUp ? flush : "waiting" });
    const marker = droppedBytes > 0 ? this.#dropMarker(nowMs) : undefined;
    if (marker !== undefined || encoded.log.length > 0) {
      await log.append(marker === undefined ? encoded.log : Buffer.concat([marker, encoded.log]));
      await this.#moveTo({
        sourceOffset: sourceOffset + encoded.consumedBytes,
        droppedBytes: 0,
        isLineOpen: encoded.isLineOpen ?? (marker === undefined && this.#position.isLineOpen),
        log: { identity: log.identity, sizeBytes: log.sizeBytes },
      });
    }
    return { isCaughtUp, waitingBytes: bytes.length - encoded.consumedBytes, sourceBytes };
  }

  /** Opens the log's path anew. When that fails the old file stays in use and nothing was made. */
  async reopen(): Promise<void> {
    if (this.#request.logPath === "") return;
    const fresh = await LogFile.open(this.#request, { makesFolder: false });
    const old = this.#log;
    this.#log = fresh;
    if (old === undefined) await reconcile(fresh, this.#request, this.#position);
    else await old[Symbol.asyncDispose]();
    await this.#moveTo({ ...this.#position, log: { identity: fresh.identity, sizeBytes: fresh.sizeBytes } });
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#log?.[Symbol.asyncDispose]();
    await this.#source?.close();
    this.#log = undefined;
    this.#source = undefined;
  }

  /** For those who keep no log. */
  async #drain(sourceBytes: number): Promise<Step> {
    if (sourceBytes !== this.#position.sourceOffset) await this.#moveTo({ ...START, sourceOffset: sourceBytes });
    return { isCaughtUp: true, waitingBytes: 0, sourceBytes };
  }

  /** Drops what is too far behind, whether or not the log can be written. */
  async #keepUp(sourceBytes: number): Promise<void> {
    const { sourceOffset, droppedBytes } = this.#position;
    if (sourceBytes < sourceOffset) {
      this.#parts.log.warn("console file became shorter; reading it from its start", { sourceBytes, sourceOffset });
      this.#position = { ...this.#position, sourceOffset: 0 };
      return;
    }
    const { backlogCapBytes } = this.#options;
    if (sourceBytes - sourceOffset <= backlogCapBytes) return;
    const target = sourceBytes - Math.floor(backlogCapBytes / 2); // in large pieces: one marker, not one a step
    await this.#moveTo({
      ...this.#position,
      sourceOffset: target,
      droppedBytes: droppedBytes + target - sourceOffset,
    });
  }

  #dropMarker(nowMs: number): Buffer {
    const { droppedBytes, isLineOpen } = this.#position;
    return markerLine(`console output of ${droppedBytes} bytes dropped`, { nowMs, closesLine: isLineOpen });
  }

  /** What is remembered is right in any case; what could not be saved is only read again after a crash. */
  async #moveTo(position: Position): Promise<void> {
    this.#position = position;
    try {
      await savePosition(this.#request.positionPath, position);
      this.#isSaveFailing = false;
      this.#savedOffset = position.sourceOffset;
    } catch (error) {
      if (!this.#isSaveFailing) this.#parts.log.warn("console position could not be saved", { error });
      this.#isSaveFailing = true;
    }
    try {
      await this.#punch.empty(this.#savedOffset);
    } catch (error) {
      this.#parts.log.warn("console file could not be emptied; it keeps its size on disk", { error });
    }
  }

  async #openLog(): Promise<LogFile> {
    if (this.#log !== undefined) return this.#log;
    const log = await LogFile.open(this.#request, { makesFolder: true });
    try {
      await reconcile(log, this.#request, this.#position);
    } catch (error) {
      await log[Symbol.asyncDispose]();
      throw error;
    }
    this.#log = log;
    await this.#moveTo({ ...this.#position, log: { identity: log.identity, sizeBytes: log.sizeBytes } });
    return log;
  }

  /** 0 while the file is not there. */
  async #sourceBytes(): Promise<number> {
    try {
      this.#source ??= await open(this.#request.consoleFilePath, "r");
      return (await this.#source.stat()).size;
    } catch (error) {
      if (errorCodeOf(error) === "ENOENT") return 0;
      throw error;
    }
  }

  async #read(offset: number, length: number): Promise<Buffer> {
    if (this.#source === undefined || length <= 0) return Buffer.alloc(0);
    const { buffer, bytesRead } = await this.#source.read(Buffer.allocUnsafe(length), 0, length, offset);
    return buffer.subarray(0, bytesRead);
  }
}
