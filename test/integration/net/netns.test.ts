import { existsSync } from "node:fs";
import { writeFile } from "node:fs/promises";
import { expect, test } from "vitest";
import { createNetns } from "../../../src/kernel/netns.ts";
import { run } from "../../../src/lib/spawn.ts";
import { newPodId, type PodId } from "../../../src/model/ids.ts";
import { sh, soon } from "./private-host.ts";

const netns = createNetns({ run });

test("create makes a namespace with loopback up, and again changes nothing", async () => {
  await using pod = aPod();
  await netns.create(pod.podId, soon());
  await sh(undefined, "ip", "-n", pod.name, "link", "add", "keep", "type", "veth");
  await netns.create(pod.podId, soon());
  expect(await netns.exists(pod.podId)).toBe(true);
  expect(await sh(netns.pathOf(pod.podId), "ip", "link", "show", "keep")).toContain("keep");
  expect(await sh(netns.pathOf(pod.podId), "ip", "-o", "address", "show", "lo")).toContain("127.0.0.1");
});

test("remove takes it away, and again changes nothing", async () => {
  await using pod = aPod();
  await netns.remove(pod.podId, soon());
  await netns.create(pod.podId, soon());
  await netns.remove(pod.podId, soon());
  await netns.remove(pod.podId, soon());
  expect(await netns.exists(pod.podId)).toBe(false);
  expect(existsSync(netns.pathOf(pod.podId))).toBe(false);
});

test("a file that a crash left without a namespace is no namespace, and is replaced or removed", async () => {
  await using pod = aPod();
  await using other = aPod();
  for (const { podId } of [pod, other]) await writeFile(netns.pathOf(podId), "");
  expect(await netns.exists(pod.podId)).toBe(false);
  await netns.create(pod.podId, soon());
  expect(await netns.exists(pod.podId)).toBe(true);
  await netns.remove(other.podId, soon());
  expect(existsSync(netns.pathOf(other.podId))).toBe(false);
});

test("rejects with the reason when aborted beforehand, and creates nothing", async () => {
  await using pod = aPod();
  const reason = new Error("the caller went away");
  await expect(netns.create(pod.podId, AbortSignal.abort(reason))).rejects.toBe(reason);
  expect(await netns.exists(pod.podId)).toBe(false);
});

function aPod(): AsyncDisposable & { podId: PodId; name: string } {
  const podId = newPodId();
  return {
    podId,
    name: netns.pathOf(podId).slice("/run/netns/".length),
    [Symbol.asyncDispose]: () => netns.remove(podId, soon()),
  };
}
