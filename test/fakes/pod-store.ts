// A PodStore in memory: behaves as the one on disk, and gives out frozen copies so that nobody can change a record.

import { VmletError } from "../../src/model/failure.ts";
import type { MachineId, PodId } from "../../src/model/ids.ts";
import type { MachineState } from "../../src/model/machine.ts";
import type { PodState } from "../../src/model/pod.ts";
import type { Resources } from "../../src/model/resources.ts";
import type { FilesystemUsage } from "../../src/ports/image-store.ts";
import type {
  BrokenRecord,
  MachinePaths,
  MachineRecord,
  PodRecord,
  PodStore,
  StoredPods,
} from "../../src/ports/pod-store.ts";
import { machinePaths, type StoreFolders } from "../../src/store/layout.ts";

const FOLDERS: StoreFolders = { stateFolderPath: "/var/lib/vmlet", runFolderPath: "/run/vmlet" };

export class FakePodStore implements PodStore {
  /** Add to it what `load` shall report as broken. */
  readonly broken: BrokenRecord[] = [];
  readonly #pods = new Map<PodId, PodRecord>();
  readonly #machines = new Map<MachineId, MachineRecord>();
  readonly #folders: StoreFolders;

  constructor(folders: StoreFolders = FOLDERS) {
    this.#folders = folders;
  }

  async load(signal: AbortSignal): Promise<StoredPods> {
    signal.throwIfAborted();
    return frozenCopy({
      pods: sortedBy([...this.#pods.values()], ({ facts }) => facts.podId),
      machines: sortedBy([...this.#machines.values()], ({ facts }) => facts.podId + facts.machineId),
      broken: this.broken,
    });
  }

  async addPod(record: PodRecord): Promise<void> {
    const { podId } = record.facts;
    if (this.#pods.has(podId)) throw taken(podId);
    this.#pods.set(podId, frozenCopy(record));
  }

  async savePodState(podId: PodId, state: PodState): Promise<void> {
    const record = this.#pods.get(podId);
    if (record === undefined) throw podNotFound(podId);
    this.#pods.set(podId, frozenCopy({ ...record, state }));
  }

  async removePod(podId: PodId): Promise<void> {
    this.#pods.delete(podId);
    const of = this.broken.filter((record) => record.podId === podId);
    for (const record of of) this.broken.splice(this.broken.indexOf(record), 1);
    for (const [machineId, { facts }] of this.#machines) {
      if (facts.podId === podId) this.#machines.delete(machineId);
    }
  }

  async addMachine(record: MachineRecord): Promise<void> {
    const { podId, machineId } = record.facts;
    if (!this.#pods.has(podId)) throw podNotFound(podId);
    if (this.#machines.has(machineId)) throw taken(machineId);
    this.#machines.set(machineId, frozenCopy(record));
  }

  async saveMachineState(podId: PodId, machineId: MachineId, state: MachineState): Promise<void> {
    this.#machines.set(machineId, frozenCopy({ ...this.#machineOf(podId, machineId), state }));
  }

  async saveMachineResources(podId: PodId, machineId: MachineId, resources: Resources): Promise<void> {
    this.#machines.set(machineId, frozenCopy({ ...this.#machineOf(podId, machineId), resources }));
  }

  #machineOf(podId: PodId, machineId: MachineId): MachineRecord {
    const record = this.#machines.get(machineId);
    if (record?.facts.podId === podId) return record;
    throw new VmletError({ code: "MACHINE_NOT_FOUND", machineId }, `container ${machineId}: no record`);
  }

  async removeMachine(podId: PodId, machineId: MachineId): Promise<void> {
    if (this.#machines.get(machineId)?.facts.podId === podId) this.#machines.delete(machineId);
  }

  async mountpoint(): Promise<string> {
    return this.#folders.stateFolderPath;
  }

  async usage(): Promise<FilesystemUsage> {
    return {
      mountpoint: await this.mountpoint(),
      usedBytes: 0,
      usedInodes: this.#pods.size + this.#machines.size,
    };
  }

  pathsOf(podId: PodId, machineId: MachineId): MachinePaths {
    return machinePaths(this.#folders, podId, machineId);
  }
}

function frozenCopy<T>(value: T): T {
  return deepFreeze(structuredClone(value));
}

function deepFreeze<T>(value: T): T {
  if (typeof value !== "object" || value === null) return value;
  for (const inner of Object.values(value)) deepFreeze(inner);
  return Object.freeze(value);
}

function sortedBy<T>(items: T[], key: (item: T) => string): T[] {
  return items.sort((a, b) => (key(a) < key(b) ? -1 : 1));
}

const taken = (id: string): VmletError =>
  new VmletError({ code: "NAME_TAKEN", name: id, holder: id }, `${id}: there is a record of it already`);
const podNotFound = (podId: PodId): VmletError =>
  new VmletError({ code: "POD_NOT_FOUND", podId }, `pod ${podId}: no record, it was removed`);
