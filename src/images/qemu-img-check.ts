// A second opinion on an image that the inspector took: qemu-img, in a sandbox, must see the same and nothing broken.

import { z } from "zod";
import type { Finished, Run } from "../lib/spawn.ts";
import { VmletError } from "../model/failure.ts";
import type { BlobFacts } from "./records.ts";
import { refusal } from "./refusal.ts";
import { isSandboxFailure, SANDBOX_FILE_PATH, SANDBOX_PACKAGES, sandboxed } from "./sandbox.ts";

/** Seconds of CPU and bytes of memory that qemu-img may take to read a header, or all tables. */
const CPU_SECONDS = 30;
const MEMORY_BYTES = 2 * 1024 ** 3;
const WALL_MS = 60_000;

/** A line an error, of millions that a bad file may have: the first few say enough. */
const MAX_OUTPUT_BYTES = 256 * 1024;
const RUN_OPTIONS = { maxOutputBytes: MAX_OUTPUT_BYTES, endAtMaxOutput: true };

/** Of `qemu-img check`: nothing found; errors; clusters that nobody uses, and nothing else. */
const CHECKED = [0, 2, 3];

const infoSchema = z.looseObject({
  format: z.string(),
  "virtual-size": z.int(),
  "backing-filename": z.unknown().optional(),
  encrypted: z.boolean().optional(),
  "format-specific": z
    .looseObject({ data: z.looseObject({ "data-file": z.unknown().optional() }).optional() })
    .optional(),
});

const checkSchema = z.looseObject({ "check-errors": z.int(), corruptions: z.int().optional() });

interface Checked {
  /** For messages. */
  readonly image: string;
  readonly path: string;
  readonly blob: Pick<BlobFacts, "format" | "virtualSizeBytes">;
}

/**
 * Runs `qemu-img info` on the file and compares; then, for qcow2, `qemu-img check`. Leaked clusters are no reason to
 * refuse: they cost room and nothing else.
 * @throws IMAGE_REFUSED when it fails or sees something else; TOOL_FAILED when it cannot be run.
 */
export async function checkWithQemuImg(checked: Checked, run: Run, signal: AbortSignal): Promise<void> {
  const { image, blob } = checked;
  const told = await ask("info", checked, run, signal);
  if (told.exitCode !== 0) throw refusal(image, `is not readable for qemu-img (${whyOf(told)})`);
  const info = infoSchema.safeParse(parseJson(told.stdout));
  if (!info.success) throw refusal(image, "makes qemu-img answer something that is not understood");
  const finding = disagreement(info.data, blob) ?? (await damage(checked, run, signal));
  if (finding !== undefined) throw refusal(image, finding);
}

/** Raw disks have no tables. */
async function damage(checked: Checked, run: Run, signal: AbortSignal): Promise<string | undefined> {
  if (checked.blob.format !== "qcow2") return undefined;
  const told = await ask("check", checked, run, signal);
  if (told.truncated) return brokenTables("countless");
  const report = CHECKED.includes(told.exitCode ?? -1) ? checkSchema.safeParse(parseJson(told.stdout)) : undefined;
  if (report?.success !== true) return `cannot be checked by qemu-img (${whyOf(told)})`;
  const errors = report.data["check-errors"] + (report.data.corruptions ?? 0);
  if (errors === 0) return undefined;
  return brokenTables(`${errors}`);
}

const brokenTables = (errors: string): string =>
  `has ${errors} errors in its tables for qemu-img check; make it anew (qemu-img convert -O qcow2) from a good copy`;

async function ask(
  command: "info" | "check",
  { image, path, blob }: Checked,
  run: Run,
  signal: AbortSignal,
): Promise<Finished> {
  const tool = ["qemu-img", command, "--output=json", "-f", blob.format, SANDBOX_FILE_PATH];
  const limits = { cpuSeconds: CPU_SECONDS, memoryBytes: MEMORY_BYTES, filePath: path };
  const [file, ...args] = sandboxed(tool, limits);
  const told = await runWithin(WALL_MS, image, async (limited) => run(file, args, RUN_OPTIONS, limited), signal);
  if (isSandboxFailure(told.exitCode, told.stderr)) throw notRunnable(told.exitCode, firstLine(told.stderr));
  return told;
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
    `qemu-img cannot be run (${why}); install qemu-utils, ${SANDBOX_PACKAGES}`,
    cause === undefined ? {} : { cause },
  );
}

function disagreement(info: z.output<typeof infoSchema>, blob: Checked["blob"]): string | undefined {
  if (info.format !== blob.format) return `is ${info.format} for qemu-img and ${blob.format} for us`;
  if (info["virtual-size"] !== blob.virtualSizeBytes) {
    return `is a disk of ${info["virtual-size"]} bytes for qemu-img and of ${blob.virtualSizeBytes} for us`;
  }
  if (info["backing-filename"] !== undefined) return "has a backing file";
  if (info["format-specific"]?.data?.["data-file"] !== undefined) return "has an external data file";
  return info.encrypted === true ? "is encrypted" : undefined;
}

function parseJson(stdout: Buffer): unknown {
  try {
    return JSON.parse(stdout.toString("utf8"));
  } catch {
    return undefined;
  }
}

const whyOf = ({ stderr }: Finished): string => firstLine(stderr) || "killed at its limits";

const firstLine = (text: string): string => (text.split("\n")[0] ?? "").slice(0, 300);
