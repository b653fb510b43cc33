import { expect, test } from "vitest";
import { singleFlight } from "../../../src/lib/single-flight.ts";

test("many who ask at once are one question, and the next one asks anew, also after a failure", async () => {
  let questions = 0;
  const ask = singleFlight(async () => {
    questions++;
    if (questions === 2) throw new Error("second");
    return questions;
  });
  expect(await Promise.all([ask(), ask(), ask()])).toEqual([1, 1, 1]);
  expect(await Promise.allSettled([ask(), ask()])).toMatchObject([{ status: "rejected" }, { status: "rejected" }]);
  expect(await ask()).toBe(3);
});
