// Gives the disk back what was read: the console file keeps its length and loses its blocks.

import { run } from "../lib/spawn.ts";

export interface PunchOptions {
  /** Holes are made in whole batches of this many bytes: one process each. */
  readonly batchBytes: number;
  /** The newest bytes that stay, for whoever attaches and wants to see what was just printed. */
  readonly keepBytes: number;
}

const FALLOCATE = "/usr/bin/fallocate";
const LIMIT_MS = 10_000;

/** Remembers how far one file was emptied. */
export class HolePunch {
  readonly #path: string;
  readonly #options: PunchOptions;
  /** After a restart everything is emptied once more, which costs one call. */
  #emptiedBytes = 0;
  #triedBytes = 0;

  constructor(path: string, options: PunchOptions) {
    this.#path = path;
    this.#options = options;
  }

  /** Empties the file up to `readBytes`, when that is worth a process. Throws when it cannot be done. */
  async empty(readBytes: number): Promise<void> {
    const { batchBytes, keepBytes } = this.#options;
    const end = Math.floor(Math.max(0, readBytes - keepBytes) / batchBytes) * batchBytes;
    if (end <= this.#triedBytes) return;
    const length = end - this.#emptiedBytes;
    const args = ["--punch-hole", "--offset", `${this.#emptiedBytes}`, "--length", `${length}`, this.#path];
    this.#triedBytes = end; // when it fails, the next try is at the next batch, from the same start
    const { exitCode, stderr } = await run(FALLOCATE, args, {}, AbortSignal.timeout(LIMIT_MS));
    if (exitCode !== 0) throw new Error(`${FALLOCATE} ended with ${exitCode}: ${stderr.trim()}`);
    this.#emptiedBytes = end;
  }
}
