// The header inspector beside the real qemu-img on images that no tool made: what both take has one format and one size.
// `FULL=1` compares 2,000.

import { mkdtemp, open, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect, test } from "vitest";
import { inspect } from "../../../src/images/inspector.ts";
import { run } from "../../../src/lib/spawn.ts";
import type { DiskFormat } from "../../../src/model/image.ts";
import { type FuzzedImage, fuzzedImages } from "../../fakes/fuzzed-image.ts";

const AGREEING = process.env["FULL"] === "1" ? 2_000 : 150;
/** qemu-img refuses a few that the inspector takes; of a raw file there is little that it could say. */
const FILES = Math.ceil(AGREEING * 1.08);
const RAW_FILES = Math.floor(FILES / 10);
const LIMIT_MS = 600_000;
const SEED = 20_240_702;
const limits = { maxVirtualSizeBytes: 2 * 1024 ** 4, requireBootSignature: true, allowSnapshots: false };

interface Taken {
  readonly format: DiskFormat;
  readonly virtualSizeBytes: number;
}

test(`${AGREEING} fuzzed images are for qemu-img what they are for us`, { timeout: LIMIT_MS }, async () => {
  await using undo = new AsyncDisposableStack();
  const folder = await mkdtemp(join(tmpdir(), "vmlet-agree-"));
  undo.defer(async () => rm(folder, { recursive: true, force: true }));
  const taken: Taken[] = [];
  let raws = 0;
  for (const image of fuzzedImages(SEED)) {
    if (taken.length === FILES) break;
    const verdict = inspect(image, limits);
    if (!verdict.isAccepted || (verdict.format === "raw" && ++raws > RAW_FILES)) continue;
    await write(join(folder, `${taken.length}`), image);
    taken.push(verdict);
  }
  await askQemuImg(folder, taken);

  const refusals = new Map<string, number>();
  let agreed = 0;
  for (const [index, { format, virtualSizeBytes }] of taken.entries()) {
    const answer = await readFile(join(folder, `${index}.json`), "utf8");
    if (answer === "") {
      const why = (await readFile(join(folder, `${index}.err`), "utf8")).replace(/\d+/g, "N").trim();
      refusals.set(why, (refusals.get(why) ?? 0) + 1);
      continue;
    }
    const info = JSON.parse(answer) as Record<string, unknown>;
    const seen = { format: info["format"], size: info["virtual-size"], backing: info["backing-filename"] };
    expect(seen, `file ${index} of seed ${SEED}`).toEqual({ format, size: virtualSizeBytes, backing: undefined });
    agreed++;
  }
  const refused = [...refusals].map(([why, times]) => `\n  ${times} times: ${why}`).join("");
  console.log(`agreement: ${agreed} of ${FILES} (${RAW_FILES} raw); refused by qemu-img:${refused}`);
  expect(agreed).toBeGreaterThanOrEqual(AGREEING);
});

/** With a hole between head and tail. */
async function write(path: string, { head, tail, lengthBytes }: FuzzedImage): Promise<void> {
  await using file = await open(path, "w");
  await file.truncate(lengthBytes);
  await file.write(tail, 0, tail.length, Math.max(0, lengthBytes - tail.length));
  await file.write(head, 0, head.length, 0);
}

/** Writes `<index>.json` and `<index>.err`. Two at a time, and many for one shell: a process takes longer than its work. */
async function askQemuImg(folder: string, images: readonly Taken[]): Promise<void> {
  const each = "qemu-img info --output=json -f $2 $1 >$1.json 2>$1.err";
  const script = `while [ $# -gt 0 ]; do ${each}; shift 2; done`;
  const stdin = images.map(({ format }, index) => `${index} ${format}\n`).join("");
  const args = ["-P", "2", "-n", "32", "sh", "-c", script, "sh"];
  const done = await run("xargs", args, { cwd: folder, stdin }, AbortSignal.timeout(LIMIT_MS));
  expect(done.exitCode, done.stderr).toBe(0);
}
