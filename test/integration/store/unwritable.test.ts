// Records on a file system that is full, and on one that became read-only: told as such, and nothing half is kept.

import { mkdir, mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import { type ImageDigest, newMachineId, newPodId } from "../../../src/model/ids.ts";
import type { PodStore } from "../../../src/ports/pod-store.ts";
import { openPodStore, type StoreOptions } from "../../../src/store/adapter.ts";
import { claimStateFolder } from "../../../src/store/claim.ts";
import { mountSmallDisk, type SmallDisk } from "../../fakes/small-disk.ts";
import { silentLog } from "../../fakes/small-ports.ts";
import { output } from "../../node/command.ts";
import { machineSpec, podSpec } from "../../unit/engine/world.ts";

const soon = (): AbortSignal => AbortSignal.timeout(30_000);
const podId = newPodId();
const machineId = newMachineId();
const STOPPED = { at: "stopped", stoppedAtMs: 1 } as const;

let disk: SmallDisk;
let folders: StoreOptions;
let store: PodStore;
beforeAll(async () => {
  disk = await mountSmallDisk(256 << 10);
  const runFolderPath = await mkdtemp(join(tmpdir(), "vmlet-run-")); // a tmpfs of its own on a node
  folders = { stateFolderPath: disk.path, runFolderPath, qemuUid: 0 };
  store = await openPodStore(folders, { log: silentLog }, soon());
  const facts = { podId, spec: podSpec(), createdAtMs: 0, netnsPath: "/run/netns/vmlet-x" };
  await store.addPod({ facts, state: { at: "intended" } });
});
afterAll(async () => {
  await disk?.[Symbol.asyncDispose]();
  await rm(folders.runFolderPath, { recursive: true, force: true });
});

const addMachine = async () =>
  await store.addMachine({
    facts: {
      machineId,
      podId,
      spec: machineSpec(),
      imageDigest: `sha256:${"0".repeat(64)}` as ImageDigest,
      createdAtMs: 0,
      domainName: "x",
      notices: [],
    },
    state: { at: "intended" },
  });

async function expectRefused(work: () => Promise<void>, why: RegExp): Promise<void> {
  const before = await store.load(soon());
  await expect(work()).rejects.toMatchObject({ failure: { code: "DISK_FULL" }, message: expect.stringMatching(why) });
  expect(await store.load(soon())).toEqual(before);
}

test("full: every save says so and leaves what was, and a removal makes room", async () => {
  await addMachine();
  await writeFile(join(disk.path, "filling"), Buffer.alloc(1 << 20)).catch(() => {});
  await expectRefused(async () => await store.savePodState(podId, STOPPED), /no room for a record/);
  await expectRefused(
    async () => await store.saveMachineState(podId, machineId, { at: "created" }),
    /no room for a record/,
  );
  const facts = { podId: newPodId(), spec: podSpec(), createdAtMs: 0, netnsPath: "/run/netns/vmlet-y" };
  await expectRefused(async () => await store.addPod({ facts, state: { at: "intended" } }), /no room for a record/);
  await store.removeMachine(podId, machineId);
  await store.savePodState(podId, { at: "stopping" });
  expect((await store.load(soon())).pods[0]?.state).toEqual({ at: "stopping" });
});

test("read-only: every save and removal says so, and all of it can still be read, by the next daemon too", async () => {
  const podsPath = join(disk.path, "pods");
  const before = await store.load(soon());
  await rm(join(disk.path, "filling"), { force: true });
  await mkdir(join(podsPath, ".removing-what-was-cut-off"));
  await writeFile(join(podsPath, podId, "state.json.tmp"), "half");
  await (await claimStateFolder(disk.path))[Symbol.asyncDispose]();
  await output(["/usr/bin/mount", "-o", "remount,ro", disk.path], soon());
  await expectRefused(async () => await store.savePodState(podId, STOPPED), /read-only/);
  await expectRefused(addMachine, /read-only/);
  await expectRefused(async () => await store.removePod(podId), /read-only/);
  for (const path of [disk.path, podsPath]) {
    await using _claim = await claimStateFolder(path); // one that was claimed before, and one that was not
    await expect(claimStateFolder(path)).rejects.toThrow(/in use by another vmlet/);
  }
  const again = await openPodStore(folders, { log: silentLog }, soon());
  expect(await again.load(soon())).toEqual(before);
});
