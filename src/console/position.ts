// How far a console was turned into its log: what a restarted daemon goes on from.

import { open, rename, rm, writeFile } from "node:fs/promises";
import { z } from "zod";
import { errorCodeOf } from "../lib/error-code.ts";

/** A file as the kernel knows it, whatever it is called now; `<device>:<inode>`. */
export type FileIdentity = string;

export interface Position {
  /** The first byte of the console file that is neither in the log nor dropped. */
  readonly sourceOffset: number;
  /** Dropped, and not yet said so in the log. */
  readonly droppedBytes: number;
  /** Whether the log's last line is a P that the next line continues. */
  readonly isLineOpen: boolean;
  /** The log that holds everything before `sourceOffset`, and its size then: what is behind is not accounted for. */
  readonly log: { readonly identity: FileIdentity; readonly sizeBytes: number } | null;
}

export const START: Position = { sourceOffset: 0, droppedBytes: 0, isLineOpen: false, log: null };

const MAX_BYTES = 4096;
const count = z.number().int().nonnegative();
const positionV1 = z.strictObject({
  v: z.literal(1),
  sourceOffset: count,
  droppedBytes: count,
  isLineOpen: z.boolean(),
  log: z.strictObject({ identity: z.string(), sizeBytes: count }).nullable(),
});

/**
 * Not synced: it must survive our own end, not the node's, which ends the machine too. Rename keeps it whole.
 * Called for one path by one caller at a time.
 */
export async function savePosition(path: string, position: Position): Promise<void> {
  const tempPath = `${path}.tmp`;
  try {
    await writeFile(tempPath, `${JSON.stringify({ v: 1, ...position })}\n`, { mode: 0o600 });
    await rename(tempPath, path);
  } catch (error) {
    await rm(tempPath, { force: true }).catch(() => {});
    throw error;
  }
}

/** Undefined when there is none yet. Throws an Error that says what is wrong with it. */
export async function loadPosition(path: string): Promise<Position | undefined> {
  let text: string;
  try {
    await using file = await open(path, "r");
    const { size } = await file.stat();
    if (size > MAX_BYTES) throw new Error(`${path}: ${size} bytes, limit ${MAX_BYTES}`);
    text = await file.readFile("utf8");
  } catch (error) {
    if (errorCodeOf(error) === "ENOENT") return undefined;
    throw error;
  }
  const { v: _v, ...position } = positionV1.parse(JSON.parse(text));
  return position;
}
