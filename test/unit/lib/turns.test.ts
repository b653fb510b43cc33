import { setImmediate as soon } from "node:timers/promises";
import { expect, test } from "vitest";
import { Turns } from "../../../src/lib/turns.ts";

const { signal } = new AbortController();

test("so many go at once; the others follow in the order in which they came", async () => {
  const turns = new Turns(2);
  const order: number[] = [];
  const [first, second] = [await turns.take(signal), await turns.take(signal)];
  expect(turns.tryTake()).toBeUndefined();
  const rest = [3, 4, 5].map(async (number) => {
    using _turn = await turns.take(signal);
    order.push(number);
    await soon();
  });
  await soon();
  expect(order).toEqual([]);
  first[Symbol.dispose]();
  await Promise.all(rest);
  expect(order).toEqual([3, 4, 5]);
  second[Symbol.dispose]();
  expect([turns.tryTake(), turns.tryTake()]).not.toContain(undefined);
  expect(turns.tryTake()).toBeUndefined();
});

test("a turn is passed on once, however often it is given back", async () => {
  const turns = new Turns(1);
  const mine = await turns.take(signal);
  mine[Symbol.dispose]();
  mine[Symbol.dispose]();
  expect(turns.tryTake()).toBeDefined();
  expect(turns.tryTake()).toBeUndefined();
});

test("whoever leaves the queue holds nobody up, also when the turn came at the same moment", async () => {
  const turns = new Turns(1);
  const mine = await turns.take(signal);
  const [early, late] = [new AbortController(), new AbortController()];
  const waiting = [turns.take(early.signal), turns.take(late.signal)];
  early.abort(new Error("no longer"));
  await expect(waiting[0]).rejects.toThrow("no longer");
  late.abort(new Error("too late")); // heard before the turn,
  mine[Symbol.dispose](); // which comes all the same
  await expect(waiting[1]).rejects.toThrow("too late");
  expect(turns.tryTake()).toBeDefined();
});
