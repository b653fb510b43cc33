// What becomes of pods and machines, as it happens, for whoever wants to hear of it without asking.

import { VmletError } from "../model/failure.ts";
import type { MachineId, PodId } from "../model/ids.ts";
import type { Clock } from "../ports/clock.ts";
import type { MachineRecord, PodRecord } from "../ports/pod-store.ts";
import type { Pods, PodsChange } from "./pods.ts";
import { wasNeverReady } from "./run-pod.ts";

/** A moment of a pod: everything in it is as it was then. */
export interface PodEvent {
  readonly type: "created" | "started" | "stopped" | "deleted";
  /** Whose it is: a machine's, or the pod's own. */
  readonly id: MachineId | PodId;
  readonly atMs: number;
  readonly pod: PodRecord;
  readonly machines: readonly { readonly machine: MachineRecord; readonly condition: string | undefined }[];
}

export interface PodEventsParts {
  readonly clock: Clock;
  readonly pods: Pods;
}

/** Events that may wait for one subscriber; they are shared between all, so many subscribers take no more memory. */
const QUEUE_LIMIT = 1_000;

/**
 * INVARIANTS: the events of one pod come in the order in which it changed; a subscriber gets every event from its
 * subscription on, or its subscription ends; nobody waits for a subscriber.
 */
export class PodEvents {
  readonly #parts: PodEventsParts;
  readonly #subscribers = new Set<Subscriber>();
  /** What was last told of each, so that a change can be told from what it was before. */
  readonly #machines = new Map<MachineId, MachineRecord>();
  readonly #pods = new Map<PodId, PodRecord>();
  readonly #stopped = new Set<PodId>();
  /** Those that were never ready: they are told to nobody, however they end. */
  readonly #unborn = new Set<PodId>();

  constructor(parts: PodEventsParts) {
    this.#parts = parts;
    for (const machine of parts.pods.machines()) this.#machines.set(machine.facts.machineId, machine);
    for (const pod of parts.pods.pods()) {
      this.#pods.set(pod.facts.podId, pod);
      if (pod.state.at === "stopped") this.#stopped.add(pod.facts.podId);
      if (wasNeverReady(pod)) this.#unborn.add(pod.facts.podId);
    }
    parts.pods.listen((change) => this.#hear(change));
  }

  /**
   * From now on, without end.
   * @throws SUBSCRIBER_TOO_SLOW when it lets too many events wait; the signal's reason.
   */
  subscribe(signal: AbortSignal): AsyncIterableIterator<PodEvent> {
    const subscriber = new Subscriber();
    this.#subscribers.add(subscriber);
    return this.#follow(subscriber, signal);
  }

  async *#follow(subscriber: Subscriber, signal: AbortSignal): AsyncGenerator<PodEvent> {
    const onAbort = (): void => subscriber.wake();
    signal.addEventListener("abort", onAbort, { once: true });
    try {
      for (;;) {
        signal.throwIfAborted();
        if (subscriber.isLost) throw tooSlow();
        const event = subscriber.queue.shift();
        if (event === undefined) await subscriber.woken();
        else yield event;
      }
    } finally {
      signal.removeEventListener("abort", onAbort);
      this.#subscribers.delete(subscriber);
    }
  }

  #hear(change: PodsChange): void {
    if (change.type === "machine") this.#hearMachine(change.machineId);
    this.#hearPod(change.podId);
  }

  #hearMachine(machineId: MachineId): void {
    const before = this.#machines.get(machineId);
    const now = this.#parts.pods.findMachine(machineId);
    if (now === undefined) this.#machines.delete(machineId);
    else this.#machines.set(machineId, now);
    const was = before?.state.at ?? "intended";
    const is = now?.state.at;
    const podId = (now ?? before)?.facts.podId;
    // One that is still being made was told to nobody.
    if (podId === undefined || was === is || (was === "intended" && is !== "created")) return;
    if (is === undefined) this.#tell("deleted", machineId, podId);
    else if (was === "intended") this.#tell("created", machineId, podId);
    else if (is === "running") this.#tell("started", machineId, podId);
    else if (is === "exited") this.#tell("stopped", machineId, podId);
  }

  #hearPod(podId: PodId): void {
    const before = this.#pods.get(podId);
    const now = this.#parts.pods.findPod(podId);
    if (now !== undefined) this.#pods.set(podId, now);
    const was = before?.state.at ?? "intended";
    const is = now?.state.at;
    if (is === "intended") this.#unborn.add(podId);
    else if (was === "intended" && is === "ready") {
      this.#unborn.delete(podId);
      this.#tell("created", podId, podId);
      this.#tell("started", podId, podId);
    } else if (is === undefined) {
      if (!this.#unborn.delete(podId)) this.#tell("deleted", podId, podId);
      this.#pods.delete(podId);
      this.#stopped.delete(podId);
    } else if (is !== "ready" && !this.#unborn.has(podId) && !this.#stopped.has(podId) && !this.#isAlive(podId)) {
      this.#stopped.add(podId);
      this.#tell("stopped", podId, podId);
    }
  }

  /** Its machines end before it does. */
  #isAlive(podId: PodId): boolean {
    return this.#parts.pods.machinesOf(podId).some(({ state }) => state.at === "running" || state.at === "stopping");
  }

  #tell(type: PodEvent["type"], id: PodEvent["id"], podId: PodId): void {
    const { clock, pods } = this.#parts;
    const pod = pods.findPod(podId) ?? this.#pods.get(podId);
    if (this.#subscribers.size === 0 || pod === undefined) return;
    const machines = pods
      .machinesOf(podId)
      .filter(({ state }) => state.at !== "intended")
      .map((machine) => ({ machine, condition: pods.conditionOf(machine.facts.machineId) }));
    const event: PodEvent = { type, id, atMs: clock.nowMs(), pod, machines };
    for (const subscriber of this.#subscribers) subscriber.push(event);
  }
}

class Subscriber {
  readonly queue: PodEvent[] = [];
  isLost = false;
  #wakeUp: (() => void) | undefined;

  push(event: PodEvent): void {
    if (this.isLost) return;
    if (this.queue.length >= QUEUE_LIMIT) {
      this.isLost = true;
      this.queue.length = 0;
    } else this.queue.push(event);
    this.wake();
  }

  wake(): void {
    this.#wakeUp?.();
    this.#wakeUp = undefined;
  }

  async woken(): Promise<void> {
    const { promise, resolve } = Promise.withResolvers<void>();
    this.#wakeUp = resolve;
    await promise;
  }
}

function tooSlow(): VmletError {
  return new VmletError(
    { code: "SUBSCRIBER_TOO_SLOW", limit: QUEUE_LIMIT },
    `more than ${QUEUE_LIMIT} events waited to be read: list everything anew, and subscribe again`,
  );
}
