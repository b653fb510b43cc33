// Follows what happens to machines outside our calls: guests that power off, people with virsh, QEMUs that crash.

import type { MachineId } from "../model/ids.ts";
import { tapNameOf } from "../model/machine-plan.ts";
import type { MachineSighting, MachineSignal } from "../ports/hypervisor.ts";
import { tellPaused, tellStranger } from "./condition.ts";
import { settleUnlessOn } from "./end-machine.ts";
import type { Parts } from "./parts.ts";
import { wireRequestOf } from "./wire-machine.ts";

/** One look at one machine: libvirt calls and, at its end, the log's last lines. */
const LOOK_LIMIT_MS = 60_000;

/** Watches until disposed; disposing waits for looks that are under way. */
export function watchMachines(parts: Parts, onReconnect: (signal: AbortSignal) => Promise<void>): AsyncDisposable {
  const stopped = new AbortController();
  const underWay = new Set<Promise<void>>();
  const track = (work: Promise<void>, facts: Record<string, unknown>): void => {
    const settled = work
      .catch((error: unknown) => {
        if (!stopped.signal.aborted) parts.log.warn("look at a machine failed", { ...facts, error });
      })
      .finally(() => underWay.delete(settled));
    underWay.add(settled);
  };
  const listening = parts.hypervisor.listen((event: MachineSignal) => {
    if (event.type === "reconnected") track(onReconnect(stopped.signal), { event: event.type });
    else track(lookAt(parts, event.machineId, stopped.signal), { event: event.type, machine: event.machineId });
  });
  return {
    async [Symbol.asyncDispose]() {
      listening[Symbol.dispose]();
      stopped.abort();
      await Promise.all(underWay);
    },
  };
}

/** Makes what we say of a machine agree with what it is. Settling an exit is not cut short by `signal`. */
async function lookAt(parts: Parts, machineId: MachineId, signal: AbortSignal): Promise<void> {
  const { pods, locks } = parts;
  const found = pods.findMachine(machineId);
  if (!found) return;
  const limited = AbortSignal.any([signal, AbortSignal.timeout(LOOK_LIMIT_MS)]);
  await locks.run(
    found.facts.podId,
    async () => {
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
  const request = pod && wireRequestOf(pod, tapNameOf(machineId));
  if (!request) return;
  try {
    await wiring.wire(request, signal);
  } catch (error) {
    if (await settleUnlessOn(parts, machineId, signal)) throw error; // otherwise it ended meanwhile, and its tap with it
  }
}
