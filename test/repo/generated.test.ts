import { execFileSync } from "node:child_process";
import { mkdtempSync, readdirSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect, test } from "vitest";

test("src/gen is what proto/ says", () => {
  const folder = mkdtempSync(join(tmpdir(), "vmlet-gen-"));
  try {
    execFileSync("node_modules/.bin/buf", ["generate", "--output", folder], { stdio: "pipe" });
    const files = readdirSync(join(folder, "src/gen"));
    expect(readdirSync("src/gen").toSorted()).toEqual(files.toSorted());
    for (const file of files) {
      const fresh = readFileSync(join(folder, "src/gen", file), "utf8");
      expect(fresh === readFileSync(join("src/gen", file), "utf8"), `${file} is stale: run npm run gen`).toBe(true);
    }
  } finally {
    rmSync(folder, { recursive: true });
  }
}, 30_000);
