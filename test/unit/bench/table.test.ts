import { expect, test } from "vitest";
import { figureOf, rowOf } from "../../../bench/table.ts";

const measured = { name: "a", baseline: "b", oursMs: [30, 10, 20], baselineMs: [10, 10, 100] };

test("a row compares medians, and is met up to its target", () => {
  expect(rowOf({ ...measured, target: 2 })).toMatchObject({ value: 20, baselineValue: 10, ratio: 2, met: true });
  expect(rowOf({ ...measured, target: 1.99 })).toMatchObject({ target: 1.99, met: false });
});

test("a row without a target says why", () => {
  expect(rowOf({ ...measured, target: { none: "new" } })).toMatchObject({ target: null, met: null, why: "new" });
});

test("a tail is told of both sides, and only where it was measured", () => {
  expect(rowOf({ ...measured, target: 2, hasTail: true })).toMatchObject({ p99: 30, baselineP99: 100 });
  expect(rowOf({ ...measured, target: 2 })).not.toHaveProperty("p99");
});

test("a figure without a baseline is held against its target itself", () => {
  const figure = { name: "memory", unit: "MiB", values: [60, 64, 70] } as const;
  expect(figureOf({ ...figure, target: 64 })).toMatchObject({ value: 64, unit: "MiB", target: 64, met: true });
  expect(figureOf({ ...figure, target: 63 })).toMatchObject({ met: false });
  expect(figureOf({ ...figure, target: 63 })).not.toHaveProperty("ratio");
});
