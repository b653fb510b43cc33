import { readFileSync } from "node:fs";
import { expect, test } from "vitest";
import { renderMetricsDocs } from "../../tools/metrics-docs.ts";

test("docs/metrics.md has every metric there is", () => {
  expect(renderMetricsDocs() === readFileSync("docs/metrics.md", "utf8"), "stale: run npm run docs").toBe(true);
});
