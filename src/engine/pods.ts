// What the program knows of pods and machines: memory over the store. Reads never wait.

import { untilAborted } from "../lib/keyed-lock.ts";
import { failsWith, VmletError } from "../model/failure.ts";
import type { MachineId, PodId } from "../model/ids.ts";
import { type MachineEvent, type MachineState, nextMachineState } from "../model/machine.ts";
import { nextPodState, type PodEvent, type PodSpec, type PodState } from "../model/pod.ts";
import type { Resources } from "../model/resources.ts";
import type { BrokenRecord, MachineRecord, PodRecord, PodStore, StoredPods } from "../ports/pod-store.ts";

/** Something that a reader may want to know of has changed. */
export type PodsChange =
  | { readonly type: "pod"; readonly podId: PodId }
  | { readonly type: "machine"; readonly machineId: MachineId; readonly podId: PodId };

/**
 * INVARIANTS: a state is published only after it is saved, but for an end on a full disk; who changes a pod or its
 * machines holds the pod's lock.
 */
export class Pods {
  readonly #store: PodStore;
  readonly #pods = new Map<PodId, PodRecord>();
  readonly #machines = new Map<MachineId, MachineRecord>();
  readonly #broken = new Map<PodId, BrokenRecord>();
  readonly #conditions = new Map<MachineId, string>();
  readonly #listeners = new Set<(change: PodsChange) => void>();
  #revision = 0;

  constructor(store: PodStore, stored: StoredPods) {
    this.#store = store;
    for (const pod of stored.pods) this.#pods.set(pod.facts.podId, pod);
    for (const machine of stored.machines) this.#machines.set(machine.facts.machineId, machine);
    for (const broken of stored.broken) this.#broken.set(broken.podId, broken);
  }

  /** Another number after each change of what `pods`, `machines` and `broken` give. */
  get revision(): number {
    return this.#revision;
  }

  pods(): readonly PodRecord[] {
    return [...this.#pods.values()];
  }

  machines(): readonly MachineRecord[] {
    return [...this.#machines.values()];
  }

  /** Pods whose record cannot be read: shown as not ready. */
  broken(): readonly BrokenRecord[] {
    return [...this.#broken.values()];
  }

  findPod(podId: string): PodRecord | undefined {
    return this.#pods.get(podId as PodId);
  }

  findBroken(podId: string): BrokenRecord | undefined {
    return this.#broken.get(podId as PodId);
  }

  findMachine(machineId: string): MachineRecord | undefined {
    return this.#machines.get(machineId as MachineId);
  }

  /** @throws POD_NOT_FOUND */
  pod(podId: string): PodRecord {
    const found = this.findPod(podId);
    if (found) return found;
    throw new VmletError({ code: "POD_NOT_FOUND", podId }, `pod sandbox ${podId} is not known`);
  }

  /** @throws MACHINE_NOT_FOUND */
  machine(machineId: string): MachineRecord {
    const found = this.findMachine(machineId);
    if (found) return found;
    throw new VmletError({ code: "MACHINE_NOT_FOUND", machineId }, `container ${machineId} is not known`);
  }

  machinesOf(podId: PodId): readonly MachineRecord[] {
    return this.machines().filter((machine) => machine.facts.podId === podId);
  }

  /** By the parts of its name: as one text, names with slashes and brackets may be the same and are not. */
  findPodByName({ namespace, name, uid, attempt }: PodName): PodRecord | undefined {
    const isIt = ({ facts: { spec } }: PodRecord): boolean =>
      spec.name === name && spec.namespace === namespace && spec.uid === uid && spec.attempt === attempt;
    return this.pods().find(isIt);
  }

  async addPod(record: PodRecord): Promise<void> {
    await this.#store.addPod(record);
    this.#pods.set(record.facts.podId, record);
    this.#tell({ type: "pod", podId: record.facts.podId });
  }

  async movePod(podId: PodId, event: PodEvent): Promise<PodState> {
    const record = this.pod(podId);
    const state = nextPodState(record.state, event);
    if (state === record.state) return state;
    await saveOrPutBack((it) => this.#store.savePodState(podId, it), event, state, record.state);
    this.#pods.set(podId, { ...record, state });
    this.#tell({ type: "pod", podId });
    return state;
  }

  /** Forgets the pod and everything in its folder. */
  async dropPod(podId: PodId): Promise<void> {
    await this.#store.removePod(podId);
    this.#pods.delete(podId);
    this.#broken.delete(podId);
    this.#tell({ type: "pod", podId });
  }

  async addMachine(record: MachineRecord): Promise<void> {
    await this.#store.addMachine(record);
    this.#machines.set(record.facts.machineId, record);
    this.#tellMachine(record);
  }

  async moveMachine(machineId: MachineId, event: MachineEvent): Promise<MachineState> {
    const record = this.machine(machineId);
    const state = nextMachineState(record.state, event);
    if (state === record.state) return state;
    const save = (it: MachineState): Promise<void> => this.#store.saveMachineState(record.facts.podId, machineId, it);
    await saveOrPutBack(save, event, state, record.state);
    this.#machines.set(machineId, { ...record, state });
    this.#tellMachine(record);
    return state;
  }

  async setResources(machineId: MachineId, resources: Resources): Promise<void> {
    const record = this.machine(machineId);
    const { podId, spec } = record.facts;
    const save = async (it: Resources): Promise<void> => await this.#store.saveMachineResources(podId, machineId, it);
    await save(resources).catch(async (error: unknown) => {
      await putBack(save, record.resources ?? spec.resources);
      throw error;
    });
    this.#machines.set(machineId, { ...this.machine(machineId), resources });
    this.#tellMachine(record);
  }

  async dropMachine(machineId: MachineId): Promise<void> {
    const record = this.machine(machineId);
    await this.#store.removeMachine(record.facts.podId, machineId);
    this.#machines.delete(machineId);
    this.#conditions.delete(machineId);
    this.#tellMachine(record);
  }

  /** What a person should know of a machine now (paused on an I/O error, …); not saved. */
  conditionOf(machineId: MachineId): string | undefined {
    return this.#conditions.get(machineId);
  }

  setCondition(machineId: MachineId, condition: string | undefined): void {
    if (condition === undefined) this.#conditions.delete(machineId);
    else this.#conditions.set(machineId, condition);
  }

  listen(listener: (change: PodsChange) => void): Disposable {
    this.#listeners.add(listener);
    return { [Symbol.dispose]: () => void this.#listeners.delete(listener) };
  }

  /** Waits until the machine's state is as wanted, or the machine is gone (undefined). */
  async until(
    machineId: MachineId,
    isWanted: (state: MachineState) => boolean,
    signal: AbortSignal,
  ): Promise<MachineState | undefined> {
    return await this.#untilState(() => this.findMachine(machineId)?.state, isWanted, signal);
  }

  /** The same of a pod. */
  async untilPod(
    podId: PodId,
    isWanted: (state: PodState) => boolean,
    signal: AbortSignal,
  ): Promise<PodState | undefined> {
    return await this.#untilState(() => this.findPod(podId)?.state, isWanted, signal);
  }

  async #untilState<State>(
    find: () => State | undefined,
    isWanted: (state: State) => boolean,
    signal: AbortSignal,
  ): Promise<State | undefined> {
    const { promise, resolve } = Promise.withResolvers<State | undefined>();
    const look = (): void => {
      const state = find();
      if (state === undefined || isWanted(state)) resolve(state);
    };
    using _listening = this.listen(look);
    look();
    return await untilAborted(promise, signal);
  }

  #tell(change: PodsChange): void {
    this.#revision += 1;
    for (const listener of this.#listeners) listener(change);
  }

  #tellMachine({ facts: { machineId, podId } }: MachineRecord): void {
    this.#tell({ type: "machine", machineId, podId });
  }
}

/**
 * What ends a pod or a machine. On a full disk that must still be possible, for it is what makes room; a crash then
 * loses nothing that recovery does not find out anew by the missing netns and the domain that is off.
 */
const ENDINGS: ReadonlySet<(PodEvent | MachineEvent)["type"]> = new Set([
  "stop-asked",
  "stop-failed",
  "netns-lost",
  "stopped",
  "ended",
]);

async function saveOrPutBack<State>(
  save: (it: State) => Promise<void>,
  event: PodEvent | MachineEvent,
  next: State,
  last: State,
): Promise<void> {
  try {
    await save(next);
  } catch (error) {
    if (ENDINGS.has(event.type) && failsWith(error, "DISK_FULL")) return;
    await putBack(save, last);
    throw error;
  }
}

/** A save that failed may have reached the disk all the same: disk and memory must not disagree. */
async function putBack<It>(save: (it: It) => Promise<void>, last: It): Promise<void> {
  await save(last).catch(() => {}); // the first failure is the one to tell; recovery copes with either state
}

type PodName = Pick<PodSpec, "namespace" | "name" | "uid" | "attempt">;

/** The kubelet's name for one attempt of a pod. */
export function podNameOf({ namespace, name, uid, attempt }: PodName): string {
  return `${namespace}/${name} (uid ${uid}, attempt ${attempt})`;
}
