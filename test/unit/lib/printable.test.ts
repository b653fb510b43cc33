import fc from "fast-check";
import { expect, test } from "vitest";
import { escapeInvisible, printable } from "../../../src/lib/printable.ts";

test("controls, line ends and marks that turn writing round are spelled out", () => {
  expect(printable("a\nb\r\tc\u001b[31m\u009b\u202e\u007f\0")).toBe(
    "a\\nb\\r\\tc\\u001b[31m\\u009b\\u202e\\u007f\\u0000",
  );
  expect(printable("vmlet.dev/https/example.org/debian-12.qcow2:latest é 漢")).toContain("é 漢");
});

test("whatever comes, a terminal gets one line without controls, and JSON stays the same value", () => {
  fc.assert(
    fc.property(fc.string({ unit: "binary" }), (text) => {
      expect(printable(text)).not.toMatch(/\p{Cc}|[\u2028-\u202e\u2066-\u2069]/u);
      expect(JSON.parse(escapeInvisible(JSON.stringify(text)))).toBe(text);
    }),
  );
});
