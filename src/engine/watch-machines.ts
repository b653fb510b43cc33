// Follows what happens to machines outside our calls: guests that power off, people with virsh, QEMUs that crash.

import type { MachineId } from "../model/ids.ts";
import { tapNameOf } from "../model/machine-plan.ts";
import type { MachineSighting, MachineSignal } from "../ports/hypervisor.ts";
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
export async function lookAt(parts: Parts, machineId: MachineId, signal: AbortSignal): Promise<void> {
  const { pods, hypervisor, locks } = parts;
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
          warnOfStranger(parts, machineId, record.state.at, await hypervisor.look(machineId, limited));
      }
    },
    limited,
  );
}

/** A running machine: its network is repaired if need be, and its condition is told. */
async function keepUp(
  parts: Parts,
  machineId: MachineId,
  { condition }: MachineSighting,
  signal: AbortSignal,
): Promise<void> {
  const { pods, wiring, log } = parts;
  const { facts } = pods.machine(machineId);
  const paused = condition.is === "on" ? condition.paused : undefined;
  if (paused) log.warn("machine is paused", { machine: machineId, paused });
  pods.setCondition(machineId, paused ? pausedText(paused) : undefined);
  const pod = pods.findPod(facts.podId);
  const request = pod && wireRequestOf(pod, tapNameOf(machineId));
  if (request) await wiring.wire(request, signal);
}

function pausedText(paused: "start" | "io-error" | "other"): string {
  switch (paused) {
    case "io-error":
      return "the VM is paused: its disk could not be written (is the node's disk full?)";
    case "start":
    case "other":
      return "the VM is paused; `virsh resume` lets it go on";
  }
}

function warnOfStranger(parts: Parts, machineId: MachineId, at: string, sighting: MachineSighting | undefined): void {
  const isOn = sighting?.condition.is === "on";
  const text = `the domain was started by hand while the container is ${at}; it has no network and is not counted`;
  parts.pods.setCondition(machineId, isOn ? text : undefined);
  if (isOn) parts.log.warn("domain started by hand is left alone", { machine: machineId, state: at });
}
