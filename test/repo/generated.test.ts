import { execFileSync } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect, test } from "vitest";

test("src/gen is what proto/ says", () => {
  const folder = mkdtempSync(join(tmpdir(), "vmlet-gen-"));
  try {
    execFileSync("node_modules/.bin/buf", ["generate", "--output", folder], { stdio: "pipe" });
    const fresh = readFileSync(join(folder, "src/gen/runtime.ts"), "utf8");
    expect(fresh === readFileSync("src/gen/runtime.ts", "utf8"), "stale: run npm run gen").toBe(true);
  } finally {
    rmSync(folder, { recursive: true });
  }
}, 30_000);
