// Fail at every step, die at every step. Each use case is done once for every port call that it makes and every way in
// which that call can go wrong, and for every second thing that goes wrong in what follows (undo, recovery, the
// repeated call); then it is repeated, and the world must be as if nothing had happened.

import { afterAll, describe, expect, test } from "vitest";
import type { Mishap } from "./mishaps.ts";
import { calm, LIVES, type Life, liveUntil, pictureOf, type Step } from "./use-cases.ts";
import { soon } from "./world.ts";

const FIRST: readonly Mishap[] = [
  "fails before",
  "fails after",
  "is aborted at",
  "recovers at",
  "dies before",
  "dies after",
];
const SECOND: readonly Mishap[] = ["fails before", "dies before"];

/** Questions: they change nothing, and who asks again gets an answer. */
const QUESTIONS = new Set(
  ["health", "networkStatus", "diskUsage", "openExec", "openAttach", "openPortForward"], // the last three: URLs
);

/** Two mishaps in each of the lives; else in the first only. */
const isFull = process.env["FULL"] === "1";

const told = { steps: 0, calls: 0, runs: 0 };
afterAll(() => {
  process.stdout.write(`every step: ${told.steps} use cases with ${told.calls} port calls, ${told.runs} runs\n`);
});

test("every use case of the engine is walked through", async () => {
  const { living } = await liveUntil([], 0);
  const ofEngine = Object.entries(living.engine).filter(([, value]) => typeof value === "function");
  const names = [...ofEngine.map(([name]) => name), "recover"];
  const covered = new Set(Object.values(LIVES).flatMap((steps) => steps.map(({ useCase }) => useCase)));
  expect(names.filter((name) => !QUESTIONS.has(name))).toEqual(expect.arrayContaining([...covered]));
  for (const name of names) expect(QUESTIONS.has(name) || covered.has(name), name).toBe(true);
});

for (const [at, [life, steps]] of Object.entries(LIVES).entries()) {
  const depth = isFull || at === 0 ? 2 : 1;
  describe(life, async () => {
    for (const [index, step] of steps.entries()) {
      const plain = await undisturbed(steps, index);
      told.steps += 1;
      told.calls += plain.calls.length;
      test.each(plain.calls.map((call, at) => [at + 1, call] as const))(
        `${step.useCase} ${step.how ?? ""}: whatever happens at call %i, %s, is not to be seen once it is repeated`,
        async (number) => {
          await Promise.all(
            FIRST.map(async (mishap) => await expectUnseen({ steps, index, number, mishap, depth }, plain)),
          );
        },
      );
    }
  });
}

interface First {
  readonly steps: readonly Step[];
  readonly index: number;
  readonly number: number;
  readonly mishap: Mishap;
  /** How many things go wrong. */
  readonly depth: 1 | 2;
}

/** Alone, and with every other mishap after it. */
async function expectUnseen({ steps, index, number, mishap, depth }: First, plain: Outcome): Promise<void> {
  const once = await disturbed(steps, index, new Map([[number, mishap]]));
  expect(once.picture, `it ${mishap} the call`).toEqual(plain.picture);
  const seconds = depth === 1 ? [] : secondsOf(once.calls, number);
  const unseen = seconds.map(async ([second, too]) => {
    const twice = await disturbed(steps, index, new Map([[number, mishap], second]));
    expect(twice.picture, `it ${mishap} the call, and ${too}`).toEqual(plain.picture);
  });
  await Promise.all(unseen);
  expect(await endOf(once.life, steps.slice(index + 1))).toEqual({});
}

/** What else can go wrong after call `number`, and how it is told. */
function secondsOf(calls: readonly string[], number: number): [[number, Mishap], string][] {
  return calls
    .slice(number)
    .flatMap((call, at) => SECOND.map((it): [[number, Mishap], string] => [[number + at + 1, it], `${it} ${call}`]));
}

interface Outcome {
  readonly life: Life;
  /** Until it was done, repetitions included. */
  readonly calls: readonly string[];
  readonly picture: unknown;
}

async function undisturbed(steps: readonly Step[], index: number): Promise<Outcome> {
  return await disturbed(steps, index, new Map());
}

async function disturbed(
  steps: readonly Step[],
  index: number,
  mishaps: ReadonlyMap<number, Mishap>,
): Promise<Outcome> {
  const step = steps[index];
  if (step === undefined) throw new Error("no such step");
  const life = await liveUntil(steps, index);
  life.world.mishaps.plan(mishaps);
  await untilDone(life, step, mishaps.size);
  await calm();
  const calls = [...life.world.mishaps.calls];
  told.runs += 1;
  return { life, calls, picture: await pictureOf(life) };
}

/** As a kubelet repeats a call, and as whoever runs the daemon starts it again. */
async function untilDone(life: Life, { act }: Step, mishapCount: number): Promise<void> {
  const { mishaps } = life.world;
  let why: unknown;
  for (let tries = 0; tries <= mishapCount; tries++) {
    const acting = act(life, AbortSignal.any([soon(), mishaps.callerSignal()]));
    try {
      const ended = await Promise.race([acting, mishaps.death]);
      await calm(); // what it set off may die, too
      if (ended !== "died" && !mishaps.isDead) return;
      await revive(life);
    } catch (error) {
      why = error;
    }
  }
  throw new Error("repeated, it still does not succeed", { cause: why });
}

/** A new engine recovers, in as many tries as it needs. */
async function revive(life: Life): Promise<void> {
  for (let tries = 0; tries < 3; tries++) {
    life.living = await life.world.start();
    const { death } = life.world.mishaps;
    const recovering = life.living.recover(soon()).then(() => "recovered" as const);
    if ((await Promise.race([recovering.catch(() => "failed" as const), death])) === "recovered") return;
  }
  throw new Error("recovery does not succeed");
}

async function endOf(life: Life, steps: readonly Step[]): Promise<unknown> {
  for (const { act } of steps) await act(life, soon());
  return await life.world.leftovers();
}
