import { mkdir, mkdtemp, readdir, readFile, rename, rm, stat, truncate, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, expect, test } from "vitest";
import { failsWith } from "../../../src/model/failure.ts";
import { newMachineId, newPodId } from "../../../src/model/ids.ts";
import type { Logger } from "../../../src/ports/logger.ts";
import { openPodStore, type StoreOptions } from "../../../src/store/adapter.ts";
import { machineRecord, podRecord, podStoreContract } from "../../contract/pod-store.contract.ts";
import { FakePodStore } from "../../fakes/pod-store.ts";

const never = new AbortController().signal;
const quiet: Logger = { error() {}, warn() {}, info() {}, debug() {}, child: () => quiet };
const folders: string[] = [];

async function options(): Promise<StoreOptions> {
  const root = await mkdtemp(join(tmpdir(), "vmlet-store-"));
  folders.push(root);
  return {
    stateFolderPath: join(root, "lib"),
    runFolderPath: join(root, "run"),
    qemuUid: process.getuid?.() ?? 0,
  };
}

const open = async (at: StoreOptions) => openPodStore(at, { log: quiet }, never);

afterAll(async () => {
  for (const path of folders) await rm(path, { recursive: true, force: true });
});

podStoreContract("on disk", async () => {
  const at = await options();
  return { store: await open(at), restarted: async () => open(at) };
});

podStoreContract("fake", async () => {
  const store = new FakePodStore();
  return { store, restarted: async () => store };
});

/** A store with one pod and one machine, and the paths of their records. */
async function filled() {
  const at = await options();
  const store = await open(at);
  const pod = podRecord();
  const machine = machineRecord(pod.facts.podId);
  await store.addPod(pod);
  await store.addMachine(machine);
  const paths = store.pathsOf(pod.facts.podId, machine.facts.machineId);
  const podFolder = join(at.stateFolderPath, "pods", pod.facts.podId);
  return { at, store, pod, machine, paths, podFolder };
}

const damages: readonly [string, (path: string) => Promise<unknown>, RegExp][] = [
  ["cut off", async (path) => truncate(path, 20), /not JSON/],
  ["empty", async (path) => truncate(path, 0), /not JSON/],
  ["missing", async (path) => rm(path), /ENOENT/],
  ["a folder", async (path) => rm(path).then(async () => mkdir(path)), /EISDIR/],
  ["huge", async (path) => truncate(path, 1 << 30), /1073741824 bytes, limit/],
  ["of a newer version", async (path) => writeFile(path, '{"v": 2}'), /version 2/],
  ["without a version", async (path) => writeFile(path, "{}"), /no version/],
  ["not an object", async (path) => writeFile(path, "[1]"), /no version/],
  ["of another shape", async (path) => writeFile(path, '{"v": 1, "at": "flying"}'), /not valid/],
];

for (const [damage, damageFile, says] of damages) {
  for (const name of ["pod.json", "state.json"]) {
    test(`a pod whose ${name} is ${damage} is reported broken, and costs no other pod`, async () => {
      const { at, store, pod, machine, podFolder } = await filled();
      const other = podRecord();
      await store.addPod(other);
      await damageFile(join(podFolder, name));
      const loaded = await (await open(at)).load(never);
      expect(loaded.pods).toEqual([other]);
      expect(loaded.machines).toEqual([machine]);
      expect(loaded.broken).toEqual([{ podId: pod.facts.podId, path: podFolder, error: expect.stringMatching(says) }]);
      await store.removePod(pod.facts.podId);
      expect(await store.load(never)).toEqual({ pods: [other], machines: [], broken: [] });
    });
  }
  for (const name of ["machine.json", "state.json"]) {
    test(`a machine whose ${name} is ${damage} is reported broken, its pod is not`, async () => {
      const { at, pod, paths } = await filled();
      await damageFile(join(paths.folderPath, name));
      const loaded = await (await open(at)).load(never);
      expect(loaded).toEqual({
        pods: [pod],
        machines: [],
        broken: [{ podId: pod.facts.podId, path: paths.folderPath, error: expect.stringMatching(says) }],
      });
    });
  }
}

test("a record that lies in another's folder is broken", async () => {
  const { at, podFolder } = await filled();
  const wrongId = newPodId();
  await rename(podFolder, join(at.stateFolderPath, "pods", wrongId));
  const loaded = await (await open(at)).load(never);
  expect(loaded.pods).toEqual([]);
  expect(loaded.broken.map(({ podId }) => podId)).toEqual([wrongId, wrongId]);
});

test("what a crash left half added or half removed is gone after load, and temp files too", async () => {
  const { at, pod, machine, paths, podFolder } = await filled();
  const podsFolder = join(at.stateFolderPath, "pods");
  for (const prefix of [".adding-", ".removing-"]) {
    for (const [folder, id] of [
      [podsFolder, newPodId()],
      [join(podFolder, "machines"), newMachineId()],
    ] as const) {
      await mkdir(join(folder, prefix + id));
      await writeFile(join(folder, prefix + id, "pod.json"), "{");
    }
  }
  await writeFile(join(podFolder, "state.json.0011aabbccdd.tmp"), "{");
  await writeFile(join(paths.folderPath, "state.json.0011aabbccdd.tmp"), "{");
  await mkdir(join(podsFolder, "lost+found"));
  const store = await open(at);
  expect(await store.load(never)).toEqual({ pods: [pod], machines: [machine], broken: [] });
  expect((await readdir(podsFolder)).sort()).toEqual([pod.facts.podId, "lost+found"].sort());
  expect((await readdir(podFolder)).sort()).toEqual(["machines", "pod.json", "state.json"]);
  expect((await readdir(paths.folderPath)).sort()).toEqual([
    "console.log",
    "init-report",
    "machine.json",
    "state.json",
  ]);
});

test("a tombstone that could not be emptied does not hinder the next removal or addition", async () => {
  const { at, store, pod } = await filled();
  const podsFolder = join(at.stateFolderPath, "pods");
  for (const prefix of [".adding-", ".removing-"]) {
    await mkdir(join(podsFolder, prefix + pod.facts.podId, "x"), { recursive: true });
  }
  await store.removePod(pod.facts.podId);
  await store.addPod(pod);
  expect(await readdir(podsFolder)).toEqual([pod.facts.podId]);
});

test("removing a machine or its pod takes its sockets along, which QEMU leaves behind", async () => {
  const { at, store, pod, machine, paths } = await filled();
  const second = machineRecord(pod.facts.podId);
  await store.addMachine(second);
  for (const each of [paths, store.pathsOf(pod.facts.podId, second.facts.machineId)]) {
    await writeFile(each.vncSocketPath, "");
    await writeFile(each.sshSocketPath, "");
    await writeFile(each.consoleSocketPath, "");
  }
  const left = async () =>
    await Promise.all(["vnc", "ssh", "console"].map((name) => readdir(join(at.runFolderPath, name))));
  await store.removeMachine(pod.facts.podId, machine.facts.machineId);
  expect((await left()).flat()).toHaveLength(3);
  await store.removePod(pod.facts.podId);
  expect(await left()).toEqual([[], [], []]);
});

test("the folder of the sockets by which one gets into guests is ours alone", async () => {
  const { at } = await filled();
  for (const name of ["ssh", "console"]) {
    expect((await stat(join(at.runFolderPath, name))).mode & 0o777).toBe(0o700);
  }
});

test("QEMU's user can pass the folders and list none, and records are ours alone, whatever the umask", async () => {
  const before = process.umask(0o077);
  try {
    const { at, paths, podFolder } = await filled();
    const modeOf = async (path: string): Promise<number> => (await stat(path)).mode & 0o777;
    for (const path of [
      at.stateFolderPath,
      join(at.stateFolderPath, "pods"),
      podFolder,
      join(podFolder, "machines"),
      paths.folderPath,
    ]) {
      expect([path, await modeOf(path)]).toEqual([path, 0o711]);
    }
    for (const path of [join(podFolder, "pod.json"), join(paths.folderPath, "state.json"), paths.consoleFilePath]) {
      expect([path, await modeOf(path)]).toEqual([path, 0o600]);
    }
  } finally {
    process.umask(before);
  }
});

test("a spec too large to read back is refused by name and leaves nothing", async () => {
  const at = await options();
  const store = await open(at);
  const pod = podRecord();
  const large = { ...pod.facts, spec: { ...pod.facts.spec, annotations: { big: "x".repeat(5 << 20) } } };
  await expect(store.addPod({ ...pod, facts: large })).rejects.toSatisfy((error) => failsWith(error, "SPEC_INVALID"));
  expect(await readdir(join(at.stateFolderPath, "pods"))).toEqual([]);
});

test("a field that the schema does not know fails the save instead of being lost", async () => {
  const store = await open(await options());
  const pod = podRecord();
  const odd = { ...pod.facts, spec: { ...pod.facts.spec, invented: 1 } };
  await expect(store.addPod({ ...pod, facts: odd })).rejects.toThrow(/invented/);
});

test("a run folder too long for sockets is refused when the store is opened", async () => {
  const at = await options();
  await expect(open({ ...at, runFolderPath: join(at.runFolderPath, "x".repeat(90)) })).rejects.toSatisfy((error) =>
    failsWith(error, "CONFIG_INVALID"),
  );
});

test("a record is readable with cat", async () => {
  const { podFolder } = await filled();
  expect(await readFile(join(podFolder, "state.json"), "utf8")).toBe('{\n  "v": 1,\n  "at": "intended"\n}\n');
});
