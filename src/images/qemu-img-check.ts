// A second opinion on an image that the inspector took: qemu-img, unprivileged and with limits, must see the same.

import { z } from "zod";
import type { Finished, Run } from "../lib/spawn.ts";
import { VmletError } from "../model/failure.ts";
import type { BlobFacts } from "./records.ts";
import { refusal } from "./refusal.ts";
import { sandboxed } from "./sandbox.ts";

/** Seconds of CPU and bytes of memory that qemu-img may take to read a header. */
const CPU_SECONDS = 30;
const MEMORY_BYTES = 2 * 1024 ** 3;
const WALL_MS = 60_000;

const infoSchema = z.looseObject({
  format: z.string(),
  "virtual-size": z.int(),
  "backing-filename": z.unknown().optional(),
  encrypted: z.boolean().optional(),
  "format-specific": z
    .looseObject({ data: z.looseObject({ "data-file": z.unknown().optional() }).optional() })
    .optional(),
});

/**
 * Runs `qemu-img info` on the file, as nobody when we are root, and compares.
 * @throws IMAGE_REFUSED when it fails or sees something else; TOOL_FAILED when it cannot be run.
 */
export async function checkWithQemuImg(
  image: string,
  path: string,
  blob: Pick<BlobFacts, "format" | "virtualSizeBytes">,
  run: Run,
  signal: AbortSignal,
): Promise<void> {
  const tool = ["qemu-img", "info", "--output=json", "-f", blob.format, path];
  const [file, ...args] = sandboxed(tool, { cpuSeconds: CPU_SECONDS, memoryBytes: MEMORY_BYTES });
  const done = await runWithin(WALL_MS, image, async (limited) => run(file, args, {}, limited), signal);
  if (done.exitCode === 126 || done.exitCode === 127) throw notRunnable(done.exitCode, firstLine(done.stderr));
  if (done.exitCode !== 0) {
    throw refusal(image, `is not readable for qemu-img (${firstLine(done.stderr) || "killed at its limits"})`);
  }
  const info = infoSchema.safeParse(parseJson(done.stdout.toString("utf8")));
  if (!info.success) throw refusal(image, "makes qemu-img answer something that is not understood");
  const finding = disagreement(info.data, blob);
  if (finding !== undefined) throw refusal(image, finding);
}

/** The signal's reason on abort; IMAGE_REFUSED when the limit passes. */
async function runWithin(
  limitMs: number,
  image: string,
  work: (signal: AbortSignal) => Promise<Finished>,
  signal: AbortSignal,
): Promise<Finished> {
  const limit = AbortSignal.timeout(limitMs);
  try {
    return await work(AbortSignal.any([signal, limit]));
  } catch (error) {
    signal.throwIfAborted();
    if (limit.aborted) throw refusal(image, `keeps qemu-img busy for more than ${limitMs} ms`);
    throw notRunnable(null, error instanceof Error ? error.message : String(error), error);
  }
}

function notRunnable(exitCode: number | null, why: string, cause?: unknown): VmletError {
  return new VmletError(
    { code: "TOOL_FAILED", tool: "qemu-img", exitCode },
    `qemu-img cannot be run (${why}); install qemu-utils and util-linux`,
    cause === undefined ? {} : { cause },
  );
}

function disagreement(info: z.output<typeof infoSchema>, blob: Pick<BlobFacts, "format" | "virtualSizeBytes">) {
  if (info.format !== blob.format) return `is ${info.format} for qemu-img and ${blob.format} for us`;
  if (info["virtual-size"] !== blob.virtualSizeBytes) {
    return `is a disk of ${info["virtual-size"]} bytes for qemu-img and of ${blob.virtualSizeBytes} for us`;
  }
  if (info["backing-filename"] !== undefined) return "has a backing file";
  if (info["format-specific"]?.data?.["data-file"] !== undefined) return "has an external data file";
  return info.encrypted === true ? "is encrypted" : undefined;
}

function parseJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}

const firstLine = (text: string): string => (text.split("\n")[0] ?? "").slice(0, 300);
