// No image that an enemy made comes as far as a QEMU tool, or leaves a byte behind.

import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect, test } from "vitest";
import type { Run } from "../../../src/lib/spawn.ts";
import { openDiskStore } from "../../fakes/disk-image-store.ts";
import { maliciousImages } from "../../fakes/malicious-images.ts";

const signal = AbortSignal.timeout(60_000);

test("every malicious image is refused before any tool runs, and nothing of it stays", async () => {
  await using undo = new AsyncDisposableStack();
  const folder = await mkdtemp(join(tmpdir(), "vmlet-canary-"));
  undo.defer(async () => rm(folder, { recursive: true, force: true }));
  const canaryPath = join(folder, "canary");
  await writeFile(canaryPath, "never to be read");
  const images = maliciousImages(canaryPath);
  expect(images.length).toBeGreaterThanOrEqual(40);

  const ran: string[] = [];
  const run: Run = async (file, args) => {
    ran.push([file, ...args].join(" "));
    throw new Error("no tool may run");
  };
  await using under = await openDiskStore({ run });
  const before = await under.files();
  const outcomes: Record<string, string> = {};
  for (const [index, { what, bytes }] of images.entries()) {
    under.server.serve(`/${index}`, bytes);
    const outcome = await under.store.pull(under.server.nameOf(`/${index}`), signal).then(
      () => "accepted",
      (error: unknown) => codeOf(error),
    );
    if (outcome !== "IMAGE_REFUSED") outcomes[what] = outcome;
  }
  expect(outcomes).toEqual({});
  expect(ran).toEqual([]);
  expect(await under.files()).toEqual(before);
});

function codeOf(error: unknown): string {
  const failure = error instanceof Error && "failure" in error ? error.failure : undefined;
  const isCoded = typeof failure === "object" && failure !== null && "code" in failure;
  return isCoded ? String(failure.code) : String(error);
}
