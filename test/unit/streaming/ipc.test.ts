import { EventEmitter } from "node:events";
import { expect, test } from "vitest";
import { failsWith, VmletError } from "../../../src/model/failure.ts";
import { type Calls, Peer, type Transport } from "../../../src/streaming/ipc.ts";

const never = (): AbortSignal => new AbortController().signal;

test("an answer comes back to who asked, whatever the order", async () => {
  const { promise: gate, resolve: open } = Promise.withResolvers<void>();
  const { left } = pair({
    slow: async (word: string) => {
      await gate;
      return `slow ${word}`;
    },
    fast: async (bytes: Uint8Array) => bytes.length,
  });
  const slow = left.ask("slow", "a", never());
  expect(await left.ask("fast", Buffer.from("123"), never())).toBe(3);
  open();
  expect(await slow).toBe("slow a");
});

test("both sides may ask at once", async () => {
  const { left, right } = pair({ double: async (n: number) => n * 2 }, { half: async (n: number) => n / 2 });
  expect(await Promise.all([left.ask("double", 4, never()), right.ask("half", 4, never())])).toEqual([8, 2]);
});

test("a failure arrives as the failure it was", async () => {
  const { left } = pair({
    refuse: async () => {
      throw new VmletError({ code: "POD_NOT_FOUND", podId: "p1" }, "pod p1 is not known");
    },
  });
  const error = await left.ask("refuse", undefined, never()).catch((reason: unknown) => reason);
  expect(failsWith(error, "POD_NOT_FOUND") && [error.failure.podId, error.message]).toEqual([
    "p1",
    "pod p1 is not known",
  ]);
});

test("who asks for what nobody answers is told", async () => {
  const { left } = pair<Calls>({});
  await expect(left.ask("missing", 1, never())).rejects.toThrow("nothing answers missing");
});

test("abort ends the waiting at once, and the work on the other side with the same reason", async () => {
  const { promise: stopped, resolve } = Promise.withResolvers<unknown>();
  const { left } = pair({
    hang: async (_request: undefined, signal: AbortSignal) => {
      await new Promise<void>((done) => signal.addEventListener("abort", () => done()));
      resolve(signal.reason);
    },
  });
  const controller = new AbortController();
  const asked = left.ask("hang", undefined, controller.signal);
  controller.abort(new DOMException("too late", "TimeoutError"));
  await expect(asked).rejects.toThrow("too late");
  expect(await stopped).toMatchObject({ name: "TimeoutError", message: "too late" });
});

test("when the channel closes, who waits fails, work is aborted, and later questions fail at once", async () => {
  const { promise: stopped, resolve } = Promise.withResolvers<unknown>();
  const { left, close } = pair({
    hang: async (_request: undefined, signal: AbortSignal) => {
      await new Promise<void>((done) => signal.addEventListener("abort", () => done()));
      resolve(signal.reason);
    },
  });
  const asked = left.ask("hang", undefined, never());
  await new Promise((resolve) => setImmediate(resolve)); // the question is under way
  close();
  const isGone = (error: unknown): boolean => failsWith(error, "STREAMING_GONE");
  await expect(asked).rejects.toSatisfy(isGone);
  await expect(left.ask("hang", undefined, never())).rejects.toSatisfy(isGone);
  expect(await stopped).toSatisfy(isGone);
});

/** Two sides joined by a channel that clones what it carries and delivers later. */
function pair<Right extends Calls, Left extends Calls = Calls>(
  ofRight: Right,
  ofLeft?: Left,
): { left: Peer<Right>; right: Peer<Left>; close: () => void } {
  const [a, b] = [new EventEmitter(), new EventEmitter()];
  const transport = (own: EventEmitter, other: EventEmitter): Transport => ({
    send: (message, whenSent) => {
      const copy: unknown = structuredClone(message);
      setImmediate(() => void [other.emit("message", copy), whenSent(null)]);
    },
    on: (event: string, listener: (message: unknown) => void) => own.on(event, listener),
  });
  return {
    left: new Peer<Right>(transport(a, b), ofLeft ?? {}),
    right: new Peer<Left>(transport(b, a), ofRight),
    close: () => void [a.emit("disconnect"), b.emit("disconnect")],
  };
}
