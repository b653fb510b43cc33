import type { Writable } from "node:stream";
import { expect, test } from "vitest";
import { captureWith } from "../../../../src/guest/exec/capture.ts";
import type { MachineId } from "../../../../src/model/ids.ts";
import { heldBytes } from "../../../fakes/held-bytes.ts";

const target = { machineId: "a".repeat(64) as MachineId, way: "auto", user: "root" } as const;
const soon = (): AbortSignal => AbortSignal.timeout(30_000);

/** A command that prints so many bytes to each stream. */
const printing = (outBytes: number, errBytes: number) =>
  captureWith({
    run: async (_target, _command, { stdout, stderr }) => {
      const print = (to: Writable | undefined, bytes: number): void => {
        for (let left = bytes; left > 0; left -= 1_000_000) to?.write(Buffer.alloc(Math.min(left, 1_000_000), "x"));
        to?.end();
      };
      print(stdout, outBytes);
      print(stderr, errBytes);
      return 7;
    },
  });

test.each([
  [3, 2, 3, 2],
  [0, 0, 0, 0],
  [17_000_000, 10, 16_000_000, 10],
  [17_000_000, 17_000_000, 16_000_000, (16 << 20) - 4096 - 16_000_000],
])(
  "of %d and %d bytes, %d and %d are kept: 16 MB of each, and no more than the kubelet takes",
  async (out, err, keptOut, keptErr) => {
    const { exitCode, stdout, stderr } = await printing(out, err)(target, { argv: ["x"] }, soon());
    expect([exitCode, stdout.length, stderr.length]).toEqual([7, keptOut, keptErr]);
  },
);

test("of an output that comes byte by byte, little more is kept than its bytes", async () => {
  const pieces = 100_000;
  let heldMore = Number.NaN;
  const capture = captureWith({
    run: async (_target, _command, { stdout }) => {
      const before = await heldBytes();
      for (let n = 0; n < pieces; n += 1) stdout?.write(Buffer.of(n % 251));
      heldMore = (await heldBytes()) - before;
      stdout?.end();
      return 0;
    },
  });
  const { stdout } = await capture(target, { argv: ["x"] }, soon());
  expect(Buffer.from(stdout).equals(Buffer.from(Array.from({ length: pieces }, (_, n) => n % 251)))).toBe(true);
  expect(heldMore).toBeLessThan(4 << 20);
});
