// A file system that is soon full: a tmpfs, unmounted at the end. Needs root.

import { chmod, mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { run } from "../../src/lib/spawn.ts";

export interface SmallDisk extends AsyncDisposable {
  readonly path: string;
}

/** @param options Of mount, behind the size. */
export async function mountSmallDisk(sizeBytes: number, options = "nodev"): Promise<SmallDisk> {
  await using undo = new AsyncDisposableStack();
  const path = await mkdtemp(join(tmpdir(), "vmlet-small-"));
  undo.defer(async () => rm(path, { recursive: true, force: true }));
  await runOrThrow("mount", ["-t", "tmpfs", "-o", `size=${sizeBytes},${options}`, "vmlet-test", path]);
  undo.defer(async () => runOrThrow("umount", [path]));
  await chmod(path, 0o711);
  const kept = undo.move();
  return { path, [Symbol.asyncDispose]: async () => kept.disposeAsync() };
}

async function runOrThrow(file: string, args: readonly string[]): Promise<void> {
  const done = await run(file, args, {}, AbortSignal.timeout(60_000));
  if (done.exitCode !== 0) throw new Error(`${file} ${args.join(" ")}: ${done.stderr}`);
}
