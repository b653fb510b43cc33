import { expect, test } from "vitest";
import { IMAGE, machineSpec, podSpec, soon, World } from "./world.ts";

const MEMORY = { atMs: 1_600_000_000_000, totalBytes: 128 << 20, freeBytes: 64 << 20 };
const ROOT = { mountpoint: "/", type: "ext4", usedBytes: 1, sizeBytes: 2 };

async function running() {
  const world = new World();
  await world.images.pull(IMAGE, soon());
  const living = await world.start();
  const { engine } = living;
  const podId = await engine.runPod(podSpec(), soon());
  const machineId = await engine.createMachine(podId, machineSpec(), soon());
  await engine.startMachine(machineId, soon());
  world.hypervisor.tellMemory(machineId, MEMORY);
  const latest = () => engine.guestReports.latest([machineId]).get(machineId);
  return { world, living, engine, machineId, latest };
}

const answersCame = async (): Promise<void> => await new Promise((resolve) => setImmediate(resolve));

test("who wants to know gets what was said last, with its time, and sets off the next question", async () => {
  const { world, latest } = await running();
  world.guestFilesystems.answer = async () => [ROOT];
  expect(latest()).toBeUndefined();
  await answersCame();
  const filesystems = { atMs: world.clock.now, all: [ROOT] };
  expect(latest()).toEqual({ memory: MEMORY, filesystems });
});

test("guests are asked again when what they said is old, their agents less often", async () => {
  const { world, latest } = await running();
  const asked = async () => {
    latest();
    await answersCame();
    const sizes = world.hypervisor.calls.filter(({ call }) => call === "sizes").length;
    return [sizes, world.guestFilesystems.asked];
  };
  expect(await asked()).toEqual([1, 1]);
  expect(await asked()).toEqual([1, 1]);
  world.clock.now += 10_000;
  expect(await asked()).toEqual([2, 1]);
  world.clock.now += 50_000;
  expect(await asked()).toEqual([3, 2]);
  world.clock.now -= 3_600_000; // a clock that was set back does not silence them
  expect(await asked()).toEqual([4, 3]);
});

test("an agent that never answers holds nobody up, keeps what was said, and ends with the daemon", async () => {
  const { world, living, latest } = await running();
  world.guestFilesystems.answer = async (_machineId, signal) =>
    await new Promise((_resolve, reject) => signal.addEventListener("abort", () => reject(signal.reason as Error)));
  latest();
  await answersCame();
  world.clock.now += 60_000;
  expect(latest()).toEqual({ memory: MEMORY });
  await answersCame();
  expect(world.guestFilesystems.asked).toBe(1); // one question at a time
  await living[Symbol.asyncDispose]();
  expect(latest()).toEqual({ memory: MEMORY });
});

test("without libvirtd guests' last words stay; of one that ended they go", async () => {
  const { world, engine, latest } = await running();
  latest();
  await answersCame();
  world.hypervisor.goAway();
  world.clock.now += 60_000;
  latest();
  await answersCame();
  expect(latest()).toEqual({ memory: MEMORY });
  engine.guestReports.latest([]);
  expect(latest()).toBeUndefined();
});
