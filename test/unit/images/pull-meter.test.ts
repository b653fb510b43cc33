import { expect, test } from "vitest";
import { PullMeter, type PullProgress } from "../../../src/images/progress.ts";
import { FakeClock } from "../../fakes/small-ports.ts";

function meter() {
  const clock = new FakeClock();
  const told: PullProgress[] = [];
  const fresh: number[] = [];
  const under = new PullMeter("a:latest", {
    clock,
    tell: (progress) => void told.push(progress),
    onFresh: (bytes) => void fresh.push(bytes),
  });
  return { clock, told, fresh, under };
}

/** As many bytes each 100 ms, for a time. */
function receive({ clock, under }: ReturnType<typeof meter>, fromBytes: number, perSecond: number, ms: number): number {
  let bytes = fromBytes;
  for (let passed = 0; passed < ms; passed += 100) {
    clock.now += 100;
    bytes += perSecond / 10;
    under.received(bytes);
  }
  return bytes;
}

test("the rate is that of the last seconds, and falls to nothing when nothing comes", () => {
  const at = meter();
  expect(at.under.look()).toMatchObject({ phase: "asking", receivedBytes: 0, bytesPerSecond: 0 });
  at.under.receiving(0, 1_000_000);
  const bytes = receive(at, 0, 10_000, 20_000);
  expect(at.under.look()).toMatchObject({ phase: "receiving", receivedBytes: 200_000, totalBytes: 1_000_000 });
  expect(at.under.look().bytesPerSecond).toBeCloseTo(10_000, -2);
  receive(at, bytes, 50_000, 6_000);
  expect(at.under.look().bytesPerSecond).toBeCloseTo(50_000, -2);
  at.clock.now += 4_000;
  expect(at.under.look().bytesPerSecond).toBeLessThan(20_000);
  at.clock.now += 60_000;
  expect(at.under.look().bytesPerSecond).toBeLessThan(200);
});

test("what an earlier pull had brought is not counted as received now, nor as speed", () => {
  const at = meter();
  at.under.receiving(900_000, 1_000_000);
  receive(at, 900_000, 10_000, 2_000);
  expect(at.under.look()).toMatchObject({ receivedBytes: 920_000, bytesPerSecond: 10_000 });
  expect(at.fresh.reduce((sum, bytes) => sum + bytes)).toBe(20_000);
});

test("a log hears of it once a second and at the end, however often bytes come", () => {
  const at = meter();
  at.under.receiving(0, undefined);
  const bytes = receive(at, 0, 1_000, 5_000);
  expect(at.told.length).toBe(5);
  at.under.done(bytes);
  expect(at.told.at(-1)).toEqual({ image: "a:latest", receivedBytes: 5_000, tookMs: 5_000, isDone: true });
  expect(at.under.look()).toMatchObject({ phase: "checking", bytesPerSecond: 0 });
});

test("a clock that is set back does no harm", () => {
  const at = meter();
  at.under.receiving(0, 100);
  at.clock.now -= 3_600_000;
  at.under.received(50);
  expect(at.under.look().bytesPerSecond).toBeGreaterThanOrEqual(0);
});
