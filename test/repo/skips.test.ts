import { existsSync } from "node:fs";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect, test } from "vitest";
import { CRITEST_PATH, listSpecs } from "../conformance/critest.ts";
import { readSkips, skipPattern } from "../conformance/skips.ts";

test("each skip has a reason, and leaves out no spec but its own", async () => {
  const skips = await readSkips();
  const names = skips.map(({ spec }) => `CRI validation ${spec}`);
  for (const skip of skips) expect(names.filter((name) => new RegExp(skipPattern(skip)).test(name))).toHaveLength(1);
});

test.skipIf(!existsSync(CRITEST_PATH))("each skip names a spec of critest", async () => {
  const workPath = await mkdtemp(join(tmpdir(), "vmlet-critest-"));
  try {
    const specs = await listSpecs(workPath, AbortSignal.timeout(60_000));
    expect(specs.length).toBeGreaterThan(100);
    expect((await readSkips()).map(({ spec }) => spec).filter((spec) => !specs.includes(spec))).toEqual([]);
  } finally {
    await rm(workPath, { recursive: true });
  }
});
