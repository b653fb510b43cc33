import { expect, test } from "vitest";
import { KeyedLock, untilAborted } from "../../../src/lib/keyed-lock.ts";

const soon = (): AbortSignal => AbortSignal.timeout(5_000);

test("work under one key goes one by one in the order asked, and other keys do not wait", async () => {
  const lock = new KeyedLock();
  const gate = Promise.withResolvers<void>();
  const seen: string[] = [];
  const first = lock.run("a", async () => void (await gate.promise, seen.push("a1")), soon());
  const second = lock.run("a", async () => void seen.push("a2"), soon());
  await lock.run("b", async () => void seen.push("b"), soon());
  gate.resolve();
  await Promise.all([first, second]);
  expect(seen).toEqual(["b", "a1", "a2"]);
  expect(lock.heldKeys).toBe(0);
});

test("a failure is the caller's, and the next in line still runs", async () => {
  const lock = new KeyedLock();
  await expect(lock.run("a", async () => Promise.reject(new Error("no")), soon())).rejects.toThrow("no");
  await expect(lock.run("a", async () => 1, soon())).resolves.toBe(1);
});

test("who gives up while waiting leaves the line, and nobody overtakes", async () => {
  const lock = new KeyedLock();
  const gate = Promise.withResolvers<void>();
  const seen: string[] = [];
  const first = lock.run("a", async () => await gate.promise, soon());
  const stop = new AbortController();
  const second = lock.run("a", async () => void seen.push("second"), stop.signal);
  const third = lock.run("a", async () => void seen.push("third"), soon());
  stop.abort(new Error("enough"));
  await expect(second).rejects.toThrow("enough");
  expect(seen).toEqual([]);
  gate.resolve();
  await Promise.all([first, third]);
  expect(seen).toEqual(["third"]);
});

test("who gives up as the last in line does not let the next one in beside who is at it", async () => {
  const lock = new KeyedLock();
  const gate = Promise.withResolvers<void>();
  const seen: string[] = [];
  const first = lock.run("a", async () => void (await gate.promise, seen.push("first")), soon());
  const given = lock.run("a", async () => void seen.push("second"), AbortSignal.abort(new Error("enough")));
  await expect(given).rejects.toThrow("enough");
  const third = lock.run("a", async () => void seen.push("third"), soon());
  await new Promise((resolve) => setImmediate(resolve));
  gate.resolve();
  await Promise.all([first, third]);
  expect(seen).toEqual(["first", "third"]);
  expect(lock.heldKeys).toBe(0);
});

test("a key whose last waiter gave up is forgotten with its holder's end", async () => {
  const lock = new KeyedLock();
  const gate = Promise.withResolvers<void>();
  const first = lock.run("a", async () => await gate.promise, soon());
  await expect(lock.run("a", async () => {}, AbortSignal.abort(new Error("enough")))).rejects.toThrow("enough");
  gate.resolve();
  await first;
  await new Promise((resolve) => setImmediate(resolve));
  expect(lock.heldKeys).toBe(0);
});

test("what is given up before it was waited for may fail without anybody hearing it", async () => {
  const unheard: unknown[] = [];
  const hear = (error: unknown): void => void unheard.push(error);
  process.on("unhandledRejection", hear);
  try {
    const signal = AbortSignal.abort(new Error("enough"));
    await expect(untilAborted(Promise.reject(new Error("nobody hears this")), signal)).rejects.toThrow("enough");
    await new Promise((resolve) => setImmediate(resolve)); // rejections are told after all microtasks
  } finally {
    process.off("unhandledRejection", hear);
  }
  expect(unheard).toEqual([]);
});
