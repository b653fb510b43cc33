// The writable disks of machines: thin qcow2 overlays on a shared base, made by qemu-img with every format spelled out.

import { access, chmod, open, rename, rm } from "node:fs/promises";
import { dirname, isAbsolute } from "node:path";
import { syncFolder } from "../lib/atomic-file.ts";
import type { Run } from "../lib/spawn.ts";
import { VmletError } from "../model/failure.ts";
import type { Disks, OverlayRequest } from "../ports/disks.ts";
import { diskFull, freeBytesOf } from "./disk-space.ts";

/** What an empty overlay takes at most: header, tables, and room to begin. */
const LEAST_BYTES = 1024 * 1024;

/** Disks by qemu-img. */
export function qemuImgDisks({ run }: { readonly run: Run }): Disks {
  return { createOverlay: async (request, signal) => createOverlay(request, run, signal) };
}

async function createOverlay(request: OverlayRequest, run: Run, signal: AbortSignal): Promise<void> {
  const { path, base } = request;
  // A relative name with a colon is a protocol for QEMU, and one that begins with json: a whole configuration.
  if (!isAbsolute(path) || !isAbsolute(base.path)) throw new Error(`not absolute: ${path} on ${base.path}`);
  const sizeBytes = Math.max(request.virtualSizeBytes, base.virtualSizeBytes);
  const newPath = `${path}.new`;
  try {
    await rm(newPath, { force: true });
    await expectBase(path, base.path);
    // -u: the base is not opened, because this runs as root and a stranger wrote the base.
    const args = [
      "create",
      "-q",
      "-u",
      "-f",
      "qcow2",
      "-b",
      base.path,
      "-F",
      base.format,
      "--",
      newPath,
      `${sizeBytes}`,
    ];
    const done = await run("qemu-img", args, {}, signal);
    if (done.exitCode !== 0) throw await failureOf(path, done.exitCode, done.stderr);
    await chmod(newPath, 0o600);
    await settle(newPath, path);
  } catch (error) {
    await rm(newPath, { force: true });
    throw error;
  }
}

/** qemu-img would not notice. */
async function expectBase(path: string, basePath: string): Promise<void> {
  try {
    await access(basePath);
  } catch (error) {
    throw new VmletError(
      { code: "TOOL_FAILED", tool: "qemu-img", exitCode: null },
      `qemu-img create ${path}: the base ${basePath} cannot be read; pull the image again`,
      { cause: error },
    );
  }
}

/** On disk under its own name, in place of whatever was there. */
async function settle(newPath: string, path: string): Promise<void> {
  await using file = await open(newPath, "r+");
  await file.sync();
  await rename(newPath, path);
  await syncFolder(dirname(path));
}

async function failureOf(path: string, exitCode: number | null, stderr: string): Promise<VmletError> {
  const folderPath = dirname(path);
  const why = (stderr.trim().split("\n")[0] ?? "").slice(0, 300);
  if (/No space left on device|Disk quota exceeded/.test(stderr)) {
    return diskFull(folderPath, LEAST_BYTES, await freeBytesOf(folderPath));
  }
  return new VmletError(
    { code: "TOOL_FAILED", tool: "qemu-img", exitCode },
    `qemu-img create ${path}: ${why || "no message"} (exit code ${exitCode})`,
  );
}
