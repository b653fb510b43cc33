// The inspector against bytes that nobody would write: it answers, at once and in plain words, and what it takes leans
// on nothing. `FULL=1` tries a million files; what fails is found again by its number.

import { expect, test } from "vitest";
import { HEAD_BYTES, type InspectionLimits, inspect, refuseByHead } from "../../src/images/inspector.ts";
import { type FuzzedImage, fuzzedImages } from "../fakes/fuzzed-image.ts";

const FILES = process.env["FULL"] === "1" ? 1_000_000 : 20_000;
const LIMIT_MS = 600_000;
/** For one file. It takes microseconds, but the processor may be somewhere else for a while. */
const SLOW_MS = 2_000;
const SEED = 20_240_702;
const limits: InspectionLimits = {
  maxVirtualSizeBytes: 2 * 1024 ** 4,
  requireBootSignature: true,
  allowSnapshots: false,
};

test(`${FILES} files get a verdict each, and no accepted one leans on another file`, { timeout: LIMIT_MS }, () => {
  const count = { files: 0, qcow2: 0, raw: 0 };
  let slowestMs = 0;
  for (const file of fuzzedImages(SEED)) {
    if (count.files === FILES) break;
    const startedMs = performance.now();
    const verdict = inspect(file, limits);
    slowestMs = Math.max(slowestMs, performance.now() - startedMs);
    const trouble = verdict.isAccepted
      ? troubleWithAccepted(file, verdict)
      : /^[\x20-\x7e]{5,300}$/.test(verdict.finding)
        ? undefined
        : `the finding is no plain text: ${JSON.stringify(verdict.finding)}`;
    if (trouble !== undefined) throw new Error(`file ${count.files} of seed ${SEED}: ${trouble}`);
    count.files++;
    if (verdict.isAccepted) count[verdict.format]++;
  }
  console.log(
    `inspector: ${count.files} files, taken ${count.qcow2} as qcow2 and ${count.raw} as raw, ` +
      `slowest ${slowestMs.toFixed(1)} ms`,
  );
  expect(slowestMs).toBeLessThan(SLOW_MS);
  // Files that are all refused would show nothing.
  expect(count.qcow2).toBeGreaterThan(FILES / 4);
  expect(count.raw).toBeGreaterThan(FILES / 20);
});

const FORBIDDEN_EXTENSIONS: ReadonlySet<number> = new Set([0x44415441, 0x0537be77, 0x23852875]);

/** Reads the header a second time, for what must never be taken alone. */
function troubleWithAccepted(
  { head, lengthBytes }: FuzzedImage,
  { format, virtualSizeBytes }: { readonly format: string; readonly virtualSizeBytes: number },
): string | undefined {
  if (head.length === HEAD_BYTES && refuseByHead(head, limits) !== undefined) return "its head alone is refused";
  if (virtualSizeBytes < 512 || virtualSizeBytes > limits.maxVirtualSizeBytes) return `a disk of ${virtualSizeBytes}`;
  const isQcow = head.length >= 4 && head.readUInt32BE(0) === 0x514649fb;
  if (isQcow !== (format === "qcow2")) return `qcow2's magic, or none, taken as ${format}`;
  if (!isQcow) return virtualSizeBytes === lengthBytes ? undefined : "raw of another size than its file";
  if (Number(head.readBigUInt64BE(24)) !== virtualSizeBytes) return "another size than the header's";
  if (head.readBigUInt64BE(8) !== 0n || head.readUInt32BE(16) !== 0) return "a backing file";
  if (head.readUInt32BE(32) !== 0) return "encryption";
  if (head.readUInt32BE(60) !== 0) return "snapshots";
  const version = head.readUInt32BE(4);
  if (version === 2) return extensionTrouble(head, 72);
  if (version !== 3) return `version ${version}`;
  if ((head.readBigUInt64BE(72) & ~8n) !== 0n) return "an incompatible feature";
  if ((head.readBigUInt64BE(88) & 2n) !== 0n) return "a raw data file";
  return extensionTrouble(head, head.readUInt32BE(100));
}

/** As QEMU reads them: until one of type 0, or the end of the cluster. */
function extensionTrouble(head: Buffer, from: number): string | undefined {
  const end = Math.min(2 ** head.readUInt32BE(20), head.length);
  for (let at = from; at + 8 <= end; ) {
    const type = head.readUInt32BE(at);
    if (type === 0) return undefined;
    if (FORBIDDEN_EXTENSIONS.has(type)) return `an extension of type ${type.toString(16)}`;
    at += 8 + Math.ceil(head.readUInt32BE(at + 4) / 8) * 8;
  }
  return undefined;
}
