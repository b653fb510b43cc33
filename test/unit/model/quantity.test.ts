import fc from "fast-check";
import { expect, test } from "vitest";
import { formatBytes, parseBytes } from "../../../src/model/quantity.ts";

test.each([
  ["0", 0],
  ["1", 1],
  ["512Mi", 536_870_912],
  ["1.5Gi", 1_610_612_736],
  ["1k", 1000],
  ["2G", 2_000_000_000],
  ["2e9", 2_000_000_000],
  ["0.5Ki", 512],
  ["9007199254740991", Number.MAX_SAFE_INTEGER],
])("%s is %d bytes", (text, bytes) => expect(parseBytes(text)).toBe(bytes));

test.each([
  "",
  " 1",
  "1 Mi",
  "-1",
  "+1",
  "0x10",
  "1mi",
  "1KiB",
  "100m",
  "0.1",
  ".5Gi",
  "1.",
  "NaN",
  "Infinity",
  "1e400",
])("%j is no amount of bytes", (text) => expect(parseBytes(text)).toBeUndefined());

test.each(["9007199254740992", "8Ei", "1e16"])("%s is refused, for it is not exact as a number", (text) => {
  expect(parseBytes(text)).toBeUndefined();
});

test("what is formatted parses back to the same bytes", () => {
  fc.assert(
    fc.property(fc.nat(2 ** 31 - 1), fc.nat(20), (base, shift) => {
      expect(parseBytes(formatBytes(base * 2 ** shift))).toBe(base * 2 ** shift);
    }),
  );
});
