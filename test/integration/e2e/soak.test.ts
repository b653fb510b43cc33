// Pods come and go as a kubelet makes them, while the daemon and QEMUs are killed at random moments: no VM stops that
// should run, every call that nothing disturbed succeeds, and nothing is left. `make soak MINUTES=60` does it for longer.

import { join } from "node:path";
import { setTimeout as after } from "node:timers/promises";
import { afterAll, beforeAll, expect, test } from "vitest";
import { type SeededRandom, seededRandom } from "../../fakes/seeded-random.ts";
import { output } from "../../node/command.ts";
import { removePods } from "../../node/teardown.ts";
import { startTestNode, type TestNode } from "../../node/test-node.ts";
import { qemuPids } from "./qemu-process.ts";
import { traces } from "./refusals.ts";
import { SoakedPod } from "./soaked-pod.ts";
import { VmPod } from "./vm-pod.ts";

const MINUTES = Number(process.env["MINUTES"] ?? (process.env["FULL"] === "1" ? 10 : 0.5));
const SEED = Number(process.env["SEED"] ?? 1);
const PODS = 4;
const LIMIT_MS = MINUTES * 60_000 + 5 * 60_000;
const suite = AbortSignal.timeout(3 * LIMIT_MS);

let node: TestNode;
let image = "";
beforeAll(async () => {
  node = await startTestNode({}, suite);
  // Its guests find nothing to boot: they are VMs all the same, and leave the processor to the others.
  await output(
    ["/usr/bin/qemu-img", "create", "-q", "-f", "qcow2", join(node.layout.imageFolderPath, "blank.qcow2"), "4M"],
    suite,
  );
  image = node.images.nameOf("blank.qcow2");
  const first = await VmPod.start(node, { name: "first", image }, suite); // pulls, and makes the folders that stay
  await first.remove(suite);
});
afterAll(async () => await node?.[Symbol.asyncDispose]());

test("daemon and QEMUs killed at random: no other VM stops, and nothing is left", {
  timeout: LIMIT_MS,
}, async () => {
  const before = await keptTraces();
  const told = { kills: 0, calls: 0, disturbed: 0 };
  /** Grows at the beginning and at the end of everything that may make a call fail: even while there is nothing. */
  let disturbances = 0;
  const endMs = Date.now() + MINUTES * 60_000;
  const pods = Array.from({ length: PODS }, (_, at) => new SoakedPod(node, { name: `soak-${at}`, image }));
  const starts = (): number => pods.reduce((sum, pod) => sum + pod.starts, 0);
  const isOver = (): boolean => Date.now() >= endMs && starts() >= PODS; // a slow machine gets as far later

  const live = async (pod: SoakedPod, random: SeededRandom): Promise<void> => {
    while (!isOver()) {
      const seen = disturbances;
      told.calls += 1;
      try {
        await pod.step(random, suite);
      } catch (error) {
        told.disturbed += 1;
        if (seen === disturbances && seen % 2 === 0)
          throw new Error(`${pod.name}: failed although nothing was disturbed`, { cause: error });
        await after(100, undefined, { signal: suite });
      }
    }
  };
  const disturb = async (random: SeededRandom): Promise<void> => {
    while (Date.now() < endMs) {
      await after(500 + random.below(6_000), undefined, { signal: suite });
      disturbances += 1;
      told.kills += 1;
      const victim = pods[random.below(PODS)];
      if (random.oneIn(4) && victim?.running) await victim.killQemu();
      else await restart(pods, random);
      disturbances += 1;
    }
  };
  await Promise.all([disturb(seededRandom(SEED)), ...pods.map((pod, at) => live(pod, seededRandom(SEED + 1 + at)))]);

  process.stdout.write(`soak: ${JSON.stringify({ minutes: MINUTES, seed: SEED, ...told, starts: starts() })}\n`);
  await removePods(node.layout, suite);
  expect(await node.leftovers(suite)).toEqual([]);
  expect(await keptTraces()).toEqual(before);
});

/** kill -9 and a new daemon: who ran before and was not asked to stop runs afterwards, in the same QEMU. */
async function restart(pods: readonly SoakedPod[], random: SeededRandom): Promise<void> {
  await node.kill(suite);
  const running = pods.flatMap(({ running: it }) => (it === undefined ? [] : [it]));
  await after(random.below(500), undefined, { signal: suite });
  await node.start(suite);
  for (const it of running) {
    const pids = await qemuPids(it.containerId);
    if (it.isWanted) expect(pids, `QEMU of ${it.containerId}`).toEqual([it.pid]);
  }
}

/** Logs are the kubelet's. */
async function keptTraces(): Promise<string[]> {
  return (await traces(node, suite)).filter((path) => !path.startsWith(node.layout.podLogFolderPath));
}
