// What the store keeps on disk beside the bytes: one JSON file for each name and each hold.
//   names/<last part of the name>-<hash>.json   which image a name means
//   holds/<machine id>.json                     which image a machine runs from

import { createHash } from "node:crypto";
import { readdir, readFile, stat } from "node:fs/promises";
import { join } from "node:path";
import { z } from "zod";
import { TEMP_SUFFIX } from "../lib/atomic-file.ts";
import { type ImageDigest, isImageDigest, isMachineId, type MachineId } from "../model/ids.ts";
import { formatReference, parseReference } from "../model/image-reference.ts";

/** Records are a kilobyte or so; what is larger is not ours. */
const MAX_RECORD_BYTES = 64 * 1024;

const digest = z.custom<ImageDigest>((value) => typeof value === "string" && isImageDigest(value), "not a digest");
const machineId = z.custom<MachineId>((value) => typeof value === "string" && isMachineId(value), "not a machine id");

/** What never changes about a blob. */
const blobFacts = z.strictObject({
  digest,
  format: z.enum(["qcow2", "raw"]),
  /** Of the file, in bytes. */
  lengthBytes: z.int().positive(),
  virtualSizeBytes: z.int().positive(),
});

const nameRecord = z.strictObject({
  v: z.literal(1),
  /** `name:tag` or `name@digest`. */
  reference: z.string(),
  blob: blobFacts,
  pulledAtMs: z.int(),
  /** What the name means in its registry: the digest of a manifest, or of an index of manifests. */
  manifest: digest.optional(),
  /** Whom the image's author means to run in it: `1001`, `www-data`, `1001:100`; absent: not said. */
  user: z.string().min(1).max(256).optional(),
  /** Id of the key whose signature was found when it was pulled. */
  signedBy: z.string().optional(),
  /** For asking the same server whether anything changed. */
  source: z
    .strictObject({
      url: z.string(),
      etag: z.string().optional(),
      lastModified: z.string().optional(),
      /** Of what came over the wire, where that was packed: what a pin names. */
      packedDigest: digest.optional(),
    })
    .optional(),
});

const holdRecord = z.strictObject({ v: z.literal(1), machineId, blob: blobFacts });

export type BlobFacts = z.output<typeof blobFacts>;
export type NameRecord = z.output<typeof nameRecord>;
export type HoldRecord = z.output<typeof holdRecord>;

/** A record file that does not tell what it should. */
interface UnreadableRecord {
  readonly path: string;
  readonly error: string;
}

export interface LoadedRecords<T> {
  readonly records: readonly T[];
  readonly unreadable: readonly UnreadableRecord[];
}

/** Readable for people, unique by the hash, and short whatever the name. */
export function nameFileOf(reference: string): string {
  const last = parseReference(reference).name.split("/").at(-1) ?? "";
  return `${last.slice(0, 80)}-${createHash("sha256").update(reference).digest("hex").slice(0, 32)}.json`;
}

export const holdFileOf = (id: MachineId): string => `${id}.json`;

export function encodeRecord(record: NameRecord | HoldRecord): string {
  return `${JSON.stringify(record, undefined, 2)}\n`;
}

export async function loadNames(folderPath: string): Promise<LoadedRecords<NameRecord>> {
  return loadFolder(folderPath, (text, file) => {
    const record = nameRecord.parse(JSON.parse(text));
    const isOwn =
      formatReference(parseReference(record.reference)) === record.reference && nameFileOf(record.reference) === file;
    if (!isOwn) throw new Error("the file has the name of another record");
    return record;
  });
}

export async function loadHolds(folderPath: string): Promise<LoadedRecords<HoldRecord>> {
  return loadFolder(folderPath, (text, file) => {
    const record = holdRecord.parse(JSON.parse(text));
    if (holdFileOf(record.machineId) !== file) throw new Error("the file has the name of another record");
    return record;
  });
}

/** Everything in the folder but temp files that a crash left (those are no records). */
async function loadFolder<T>(folderPath: string, decode: (text: string, file: string) => T): Promise<LoadedRecords<T>> {
  const records: T[] = [];
  const unreadable: UnreadableRecord[] = [];
  for (const file of (await readdir(folderPath)).toSorted()) {
    if (file.endsWith(TEMP_SUFFIX)) continue;
    const path = join(folderPath, file);
    try {
      const { size } = await stat(path);
      if (size > MAX_RECORD_BYTES) throw new Error(`${size} bytes are too many for a record`);
      records.push(decode(await readFile(path, "utf8"), file));
    } catch (error) {
      unreadable.push({ path, error: error instanceof Error ? error.message : String(error) });
    }
  }
  return { records, unreadable };
}
