// Free space: counted before a download begins, shared between those under way, and told when it runs out.

import { statfs } from "node:fs/promises";
import { errorCodeOf } from "../lib/error-code.ts";
import { VmletError } from "../model/failure.ts";
import type { Room } from "./room.ts";

/** What one download still means to write. */
export interface Reservation extends Room, Disposable {
  /** Call for each piece that is on disk. */
  wrote(bytes: number): void;
}

/** Keeps downloads that run together from each counting on the same free bytes. */
export class SpaceLedger {
  readonly #folderPath: string;
  readonly #outstanding = new Set<{ bytes: number }>();

  constructor(folderPath: string) {
    this.#folderPath = folderPath;
  }

  /** @param neededBytes 0 when the size is not known. @throws DISK_FULL */
  async reserve(neededBytes: number): Promise<Reservation> {
    const mine = { bytes: 0 };
    this.#outstanding.add(mine);
    try {
      await this.#raise(mine, neededBytes);
    } catch (error) {
      this.#outstanding.delete(mine);
      throw error;
    }
    return {
      get leftBytes() {
        return mine.bytes;
      },
      raise: async (bytes) => this.#raise(mine, bytes),
      wrote: (bytes) => {
        mine.bytes = Math.max(0, mine.bytes - bytes);
      },
      [Symbol.dispose]: () => void this.#outstanding.delete(mine),
    };
  }

  async #raise(mine: { bytes: number }, neededBytes: number): Promise<void> {
    const before = mine.bytes;
    if (neededBytes <= before) return;
    mine.bytes = neededBytes; // before the wait, so that two at once see each other
    try {
      const promised = [...this.#outstanding].reduce((sum, { bytes }) => sum + bytes, -neededBytes);
      const freeBytes = Math.max(0, (await freeBytesOf(this.#folderPath)) - promised);
      if (neededBytes > freeBytes) throw diskFull(this.#folderPath, neededBytes, freeBytes);
    } catch (error) {
      mine.bytes = before;
      throw error;
    }
  }
}

/** Bytes that an unprivileged program could still write. */
export async function freeBytesOf(folderPath: string): Promise<number> {
  const { bavail, bsize } = await statfs(folderPath);
  return bavail * bsize;
}

/** 0 to 1: how much of its file system an unprivileged program could still write. */
export async function freeShareOf(folderPath: string): Promise<number> {
  const { bavail, blocks } = await statfs(folderPath);
  return blocks === 0 ? 1 : bavail / blocks;
}

/** ENOSPC and EDQUOT as our failure; anything else as it came. */
export async function asDiskFull(error: unknown, folderPath: string, neededBytes: number): Promise<unknown> {
  const code = errorCodeOf(error);
  if (code !== "ENOSPC" && code !== "EDQUOT") return error;
  return diskFull(folderPath, neededBytes, await freeBytesOf(folderPath), error);
}

export function diskFull(path: string, neededBytes: number, freeBytes: number, cause?: unknown): VmletError {
  return new VmletError(
    { code: "DISK_FULL", path, neededBytes, freeBytes },
    `${path}: ${neededBytes} bytes are needed and ${freeBytes} are free; remove images or make room`,
    cause === undefined ? {} : { cause },
  );
}
