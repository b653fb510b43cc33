// The inspector against bytes that nobody would write: it answers, and what it takes is inside the limits.

import fc from "fast-check";
import { expect, test } from "vitest";
import { HEAD_BYTES, inspect, TAIL_BYTES } from "../../src/images/inspector.ts";
import { qcow2, raw } from "../fakes/disk-image.ts";

const limits = { maxVirtualSizeBytes: 2 * 1024 ** 4, requireBootSignature: true };
const templates = [qcow2(), qcow2({ version: 2 }), qcow2({ clusterBits: 9, virtualSizeBytes: 32768n }), raw(128)];

const poke = fc.record({
  at: fc.oneof({ weight: 4, arbitrary: fc.nat(127) }, fc.nat(HEAD_BYTES)),
  value: fc.oneof(fc.constantFrom(0, 1, 0x7f, 0x80, 0xff), fc.nat(255)),
});
const mutated = fc
  .record({
    template: fc.nat(templates.length - 1),
    pokes: fc.array(poke, { maxLength: 12 }),
    cut: fc.option(fc.nat(262_144)),
  })
  .map(({ template, pokes, cut }) => {
    const file = Buffer.from(templates[template] ?? []);
    for (const { at, value } of pokes) if (at < file.length) file[at] = value;
    return cut === null ? file : file.subarray(0, cut);
  });
const file = fc.oneof({ weight: 1, arbitrary: fc.uint8Array({ maxLength: 2048 }) }, { weight: 4, arbitrary: mutated });

test("every file gets a verdict, and no accepted one is outside the limits or leans on another file", () => {
  fc.assert(
    fc.property(file, (bytes) => {
      const whole = {
        head: bytes.subarray(0, HEAD_BYTES),
        tail: bytes.subarray(-TAIL_BYTES),
        lengthBytes: bytes.length,
      };
      const verdict = inspect(whole, limits);
      if (!verdict.isAccepted) {
        expect(verdict.finding).not.toBe("");
        return;
      }
      expect(verdict.virtualSizeBytes).toBeGreaterThan(0);
      expect(verdict.virtualSizeBytes).toBeLessThanOrEqual(limits.maxVirtualSizeBytes);
      const view = Buffer.from(bytes);
      if (verdict.format === "raw") {
        expect(view.readUInt32BE(0)).not.toBe(0x514649fb);
        return;
      }
      expect(view.readBigUInt64BE(8)).toBe(0n);
      if (view.readUInt32BE(4) === 3) expect(view.readBigUInt64BE(72) & ~8n).toBe(0n);
    }),
    { numRuns: 3000 },
  );
});
