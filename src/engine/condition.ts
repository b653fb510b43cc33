// What a person should know of a machine beside its state: that it is paused, or that it runs although it should not.

import type { MachineId } from "../model/ids.ts";
import type { MachineSighting } from "../ports/hypervisor.ts";
import type { MachineRecord } from "../ports/pod-store.ts";
import type { Parts } from "./parts.ts";

/** Of a machine that runs, also when it is paused: CRI has no state for that. */
export function tellPaused(
  { pods, log }: Pick<Parts, "pods" | "log">,
  machineId: MachineId,
  { condition }: MachineSighting,
): void {
  const paused = condition.is === "on" ? condition.paused : undefined;
  if (paused) log.warn("machine is paused", { machine: machineId, paused });
  pods.setCondition(machineId, paused ? pausedText(paused) : undefined);
}

/** Of a domain of ours that someone started by hand. It is left alone: the next attempt powers it off. */
export async function tellStranger(
  { pods, hypervisor, log }: Parts,
  { facts: { machineId }, state }: MachineRecord,
  signal: AbortSignal,
): Promise<void> {
  const isOn = (await hypervisor.look(machineId, signal))?.condition.is === "on";
  const text = `the domain was started by hand while the container is ${state.at}; it has no network and is not counted`;
  pods.setCondition(machineId, isOn ? text : undefined);
  if (isOn) log.warn("domain started by hand is left alone", { machine: machineId, state: state.at });
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
