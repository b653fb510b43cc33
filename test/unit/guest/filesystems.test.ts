import fc from "fast-check";
import { expect, test } from "vitest";
import { filesystemsIn } from "../../../src/guest/filesystems.ts";

const root = { name: "vda2", mountpoint: "/", type: "ext4", "used-bytes": 5, "total-bytes": 10, disk: [] };

test("file systems that have a size are told once each, whatever else the agent says of them", () => {
  const answer = [root, { ...root, type: "overlay" }, { mountpoint: "/proc", type: "proc" }, "nonsense", null];
  expect(filesystemsIn(answer)).toEqual([{ mountpoint: "/", type: "ext4", usedBytes: 5, sizeBytes: 10 }]);
});

test("a guest's names are one short printable line, and sixteen file systems are the most", () => {
  const many = Array.from({ length: 1_000 }, (_, at) => ({ ...root, mountpoint: `/${at}\n\u202e${"x".repeat(900)}` }));
  const found = filesystemsIn(many);
  expect(found).toHaveLength(16);
  for (const { mountpoint } of found) expect(mountpoint).toMatch(/^\/\d+\\n\\u202ex{1,190}$/);
});

test("any answer gives a list", () => {
  fc.assert(
    fc.property(fc.anything(), (answer) => {
      expect(Array.isArray(filesystemsIn(answer))).toBe(true);
    }),
  );
});

test.each([
  ["a million nothings", Array.from({ length: 1_000_000 }, () => ({}))],
  ["a name of megabytes", [{ ...root, mountpoint: "\u0001".repeat(4_000_000) }]],
])("%s cost no time", (_what, answer) => {
  const startedAtMs = performance.now();
  filesystemsIn(answer);
  expect(performance.now() - startedAtMs).toBeLessThan(100);
});
