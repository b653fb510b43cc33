import fc from "fast-check";
import { expect, test } from "vitest";
import { VmletError } from "../../../src/model/failure.ts";
import type { Logger } from "../../../src/ports/logger.ts";
import { createLogger } from "../../../src/telemetry/log.ts";

function capture(level: "info" | "debug" = "info"): {
  log: Logger;
  lines: string[];
  last: () => Record<string, unknown>;
} {
  const lines: string[] = [];
  const log = createLogger({ level, write: (line) => void lines.push(line) });
  return { log, lines, last: () => JSON.parse(lines.at(-1) ?? "") };
}

test("a line is one JSON object with level, time, part, message and fields", () => {
  const { log, lines, last } = capture();
  log.child("cni").info("pod attached", { pod: "a", tookMs: 38 });
  expect(last()).toMatchObject({ level: "info", part: "cni", msg: "pod attached", pod: "a", tookMs: 38 });
  expect(last()["time"]).toMatch(/^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$/);
  expect(lines[0]?.endsWith("}\n")).toBe(true);
});

test("what is below the level is not written", () => {
  const { log, lines } = capture();
  log.debug("why");
  expect(lines).toEqual([]);
});

test("an error shows its facts and its causes, and a stack only when it is a bug", () => {
  const { log, last } = capture();
  const cause = Object.assign(new Error("connect ENOENT"), { code: "ENOENT" });
  log.error("gone", { error: new VmletError({ code: "HYPERVISOR_GONE", socketPath: "/s" }, "no libvirt", { cause }) });
  expect(last()["error"]).toMatchObject({
    name: "VmletError",
    message: "no libvirt",
    failure: { code: "HYPERVISOR_GONE", socketPath: "/s" },
    cause: { message: "connect ENOENT", code: "ENOENT" },
  });
  expect(last()["error"]).not.toHaveProperty("stack");
  log.error("bug", { error: new TypeError("x") });
  expect(last()).toHaveProperty("error.stack");
});

test("fields cannot take the place of the message, the level or the time", () => {
  const { log, last, lines } = capture();
  log.info("true", { msg: "false", level: "error", time: 0, part: "x" });
  expect(last()).toMatchObject({ msg: "true", level: "info", msg_: "false", level_: "error" });
  expect(lines[0]?.match(/"msg":/g)).toHaveLength(1);
});

test("no value ends the line, reaches a terminal as a control, or makes the call throw", () => {
  const { log, lines } = capture();
  fc.assert(
    fc.property(fc.anything({ withBigInt: true, withMap: true, withSet: true, withTypedArray: true }), (value) => {
      log.info("value", { value });
      JSON.parse(lines.at(-1) ?? "");
    }),
  );
  log.info("guest", { text: "a\nb\u001b[2J\u009b2J\u202ereversed\u2028x" });
  for (const line of lines) expect(line).toMatch(/^[^\p{Cc}\u2028-\u202e]*\n$/u);
});

test("circles, depth and length have an end", () => {
  const { log, lines, last } = capture();
  const circle: Record<string, unknown> = {};
  circle["self"] = circle;
  log.info("circle", { circle, bytes: new Uint8Array(1 << 20), text: "x".repeat(1 << 20), big: 10n ** 30n });
  expect(lines[0]?.length).toBeLessThan(10_000);
  expect(last()).toMatchObject({ bytes: "<1048576 bytes>", big: "1000000000000000000000000000000" });
});

test("a getter that throws costs its value only", () => {
  const { log, last } = capture();
  const bad = {
    get trap(): string {
      throw new RangeError("no");
    },
  };
  log.info("bad", { bad, good: 1 });
  expect(last()).toMatchObject({ bad: "<unreadable: RangeError>", good: 1 });
});
