// Follows what happens to machines outside our calls: guests that power off, people with virsh, QEMUs that crash.

import { backoff, sleepMs } from "../lib/backoff.ts";
import type { MachineId } from "../model/ids.ts";
import { tapNameOf } from "../model/machine-plan.ts";
import type { MachineSighting, MachineSignal } from "../ports/hypervisor.ts";
import { tellPaused, tellStranger } from "./condition.ts";
import { settleUnlessOn } from "./end-machine.ts";
import type { Parts } from "./parts.ts";
import { wireRequestOf } from "./wire-machine.ts";

/** One look at one machine: libvirt calls and, at its end, the log's last lines. */
const LOOK_LIMIT_MS = 60_000;

/**
 * Between two looks at one machine, longer and longer while something happens all the time: one that reboots in a loop, or that
 * says a thousand times in a second that it panics, must not cost the node more than its own CPUs.
 */
const PAUSES = { firstMs: 100, maxMs: 2_000, jitter: 0 };
/** After a look that failed. No event would come again, and the machine would be told as it was for ever. */
const AGAIN = { firstMs: 250, maxMs: 60_000 };

export interface Watch extends AsyncDisposable {
  /** Recovers in the background, as when libvirtd comes back. */
  recover(): void;
}

/** Watches until disposed; disposing waits for looks that are under way. */
export function watchMachines(parts: Parts, recover: (signal: AbortSignal) => Promise<void>): Watch {
  const stopped = new AbortController();
  const underWay = new Set<Promise<void>>();
  const track = (work: Promise<void>, facts: Record<string, unknown>): void => {
    const settled = work
      .catch((error: unknown) => {
        if (!stopped.signal.aborted) parts.log.warn("look at machines failed", { ...facts, error });
      })
      .finally(() => underWay.delete(settled));
    underWay.add(settled);
  };
  let recovering = new AbortController();
  const recoverAnew = (): void => {
    recovering.abort(); // what the last one has not done yet, this one does
    const mine = new AbortController();
    recovering = mine;
    const done = recover(AbortSignal.any([stopped.signal, mine.signal]));
    track(
      done.catch((error: unknown) => (mine.signal.aborted ? undefined : Promise.reject(error))),
      { event: "recovery" },
    );
  };
  const looks = new Map<MachineId, Looks>();
  const listening = parts.hypervisor.listen((event: MachineSignal) => {
    if (event.type === "reconnected") return recoverAnew();
    const { machineId } = event;
    const known = looks.get(machineId);
    if (known) return known.ask();
    const fresh = new Looks(parts, machineId, () => looks.delete(machineId));
    looks.set(machineId, fresh);
    track(fresh.run(stopped.signal), { event: event.type, machine: machineId });
  });
  return {
    recover: recoverAnew,
    async [Symbol.asyncDispose]() {
      listening[Symbol.dispose]();
      stopped.abort();
      await Promise.all(underWay);
    },
  };
}

/** Looks at one machine for as long as something happens to it: many events while one look waits are one more look. */
class Looks {
  readonly #parts: Parts;
  readonly #machineId: MachineId;
  readonly #onEnd: () => void;
  #isAsked = true;
  #again = backoff(AGAIN);
  readonly #pauses = backoff(PAUSES);
  #nap = new AbortController();

  constructor(parts: Parts, machineId: MachineId, onEnd: () => void) {
    this.#parts = parts;
    this.#machineId = machineId;
    this.#onEnd = onEnd;
  }

  /** Something happened. */
  ask(): void {
    this.#isAsked = true;
    this.#nap.abort();
  }

  async run(signal: AbortSignal): Promise<void> {
    try {
      while (this.#isAsked && this.#parts.pods.findMachine(this.#machineId)) await this.#look(signal);
    } finally {
      this.#onEnd(); // in the same turn as the last question whether there is more: nothing is lost between
    }
  }

  async #look(signal: AbortSignal): Promise<void> {
    const machineId = this.#machineId;
    try {
      await lookAt(this.#parts, machineId, () => void (this.#isAsked = false), signal);
      this.#again = backoff(AGAIN);
      await sleepMs(this.#pauses.next().value, signal);
    } catch (error) {
      signal.throwIfAborted();
      this.#parts.log.warn("look at a machine failed; trying again", { machine: machineId, error });
      this.#isAsked = true;
      await this.#pause(this.#again.next().value, signal);
    }
  }

  async #pause(ms: number, signal: AbortSignal): Promise<void> {
    this.#nap = new AbortController();
    await sleepMs(PAUSES.firstMs, signal);
    await sleepMs(ms, AbortSignal.any([signal, this.#nap.signal])).catch(() => signal.throwIfAborted());
  }
}

/**
 * Makes what we say of a machine agree with what it is. Settling an exit is not cut short by `signal`.
 * @param onBegin What happens from here on may not be seen by this look.
 */
async function lookAt(parts: Parts, machineId: MachineId, onBegin: () => void, signal: AbortSignal): Promise<void> {
  const { pods, locks } = parts;
  const found = pods.findMachine(machineId);
  if (!found) return;
  const limited = AbortSignal.any([signal, AbortSignal.timeout(LOOK_LIMIT_MS)]);
  await locks.run(
    found.facts.podId,
    async () => {
      onBegin();
      const record = pods.findMachine(machineId);
      if (!record) return;
      switch (record.state.at) {
        case "running":
        case "stopping": {
          const sighting = await settleUnlessOn(parts, machineId, limited);
          if (sighting) await keepUp(parts, machineId, sighting, limited);
          return;
        }
        case "intended":
        case "created":
        case "starting":
        case "exited":
          await tellStranger(parts, record, limited);
      }
    },
    limited,
  );
}

/** A running machine: its network is repaired if need be, and its condition is told. */
async function keepUp(
  parts: Parts,
  machineId: MachineId,
  sighting: MachineSighting,
  signal: AbortSignal,
): Promise<void> {
  const { pods, wiring } = parts;
  const { facts } = pods.machine(machineId);
  tellPaused(parts, machineId, sighting);
  const pod = pods.findPod(facts.podId);
  const request = pod?.state.at === "ready" && wireRequestOf(pod, tapNameOf(machineId));
  if (!request) return; // or its network is lost, and the kubelet is to stop it
  try {
    await wiring.wire(request, signal);
  } catch (error) {
    if (await settleUnlessOn(parts, machineId, signal)) throw error; // otherwise it ended meanwhile, and its tap with it
  }
}
