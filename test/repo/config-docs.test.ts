import { readFileSync } from "node:fs";
import { expect, test } from "vitest";
import { parseConfig } from "../../src/config/load.ts";
import { listSettings } from "../../src/config/reference.ts";
import { renderConfigDocs } from "../../tools/config-docs.ts";

test("docs/config.md is what the schema says", () => {
  expect(renderConfigDocs() === readFileSync("docs/config.md", "utf8"), "stale: run npm run docs").toBe(true);
});

test("every setting says what it is, and a number says in its name what it counts", () => {
  expect(listSettings().length).toBeGreaterThan(20);
  for (const setting of listSettings()) {
    const name = setting.path.join(".");
    expect(setting.doc, name).not.toBe("");
    if (setting.kind === "integer" || setting.kind === "quantity")
      expect(name).toMatch(/(Ms|Bytes|MiB|Redirects|Downloads)($|\.)/);
  }
});

test("the example in docs/config.md is accepted", () => {
  const example = /```yaml\n([^`]+)```/.exec(readFileSync("docs/config.md", "utf8"))?.[1] ?? "";
  expect(parseConfig(example, "docs/config.md", []).images.translations).toHaveLength(1);
});
