// libvirt's states, reasons and events, folded to what we act on. Numbers: libvirt-domain.h.

import type { MachineId } from "../model/ids.ts";
import type { MachineCondition, MachineSignal } from "../ports/hypervisor.ts";
import type { DomainEvent } from "./client/messages.ts";

const STATE_PAUSED = 3;
const STATE_SHUTOFF = 5;
const STATE_CRASHED = 6;
const STATE_PMSUSPENDED = 7;

const PAUSED_USER = 1;
const PAUSED_IOERROR = 5;
const PAUSED_STARTING_UP = 11;

/** VIR_DOMAIN_SHUTOFF_*: what is not here says nothing of how the run ended (found dead, put back to a snapshot). */
const ENDED: Readonly<Record<number, Extract<MachineCondition, { is: "off" }>["ended"]>> = {
  1: "shutdown",
  2: "destroyed",
  3: "crashed",
  4: "taken-away", // migrated
  5: "taken-away", // saved
  6: "failed",
};

/** VIR_DOMAIN_EVENT_STOPPED_*, numbered otherwise than the state's reasons. */
const STOPPED: Readonly<Record<number, "shutdown" | "destroyed" | "crashed" | "failed">> = {
  0: "shutdown",
  1: "destroyed",
  2: "crashed",
  5: "failed",
};

export const LIFECYCLE = {
  defined: 0,
  undefined: 1,
  started: 2,
  suspended: 3,
  resumed: 4,
  stopped: 5,
  pmSuspended: 7,
  crashed: 8,
} as const;
const AGENT_CONNECTED = 1;

/**
 * @param known What libvirt does not tell: whether the CPUs ran since the start (a machine that was started paused and
 *   one paused by hand have the same reason), and whether we defined it and nobody has started it since.
 */
export function conditionOf(
  { state, reason }: { readonly state: number; readonly reason: number },
  known: { readonly hasRun: boolean; readonly isFresh: boolean },
): MachineCondition {
  if (state === STATE_SHUTOFF)
    return { is: "off", ended: ENDED[reason] ?? (known.isFresh ? "never-started" : "unknown") };
  if (state === STATE_CRASHED || state === STATE_PMSUSPENDED) return { is: "on", paused: "other" };
  if (state !== STATE_PAUSED) return { is: "on" };
  if (reason === PAUSED_IOERROR) return { is: "on", paused: "io-error" };
  if (reason === PAUSED_STARTING_UP) return { is: "on", paused: "start" };
  return { is: "on", paused: reason === PAUSED_USER && !known.hasRun ? "start" : "other" };
}

/** undefined: nothing that we act on. */
export function signalOf(event: DomainEvent, machineId: MachineId): MachineSignal | undefined {
  switch (event.type) {
    case "reboot":
      return { type: "rebooted", machineId };
    case "io-error":
      return { type: "io-error", machineId };
    case "agent":
      return event.state === AGENT_CONNECTED ? { type: "agent-up", machineId } : undefined;
    case "lifecycle":
      return lifecycleSignalOf(event.event, event.detail, machineId);
  }
}

function lifecycleSignalOf(event: number, detail: number, machineId: MachineId): MachineSignal | undefined {
  switch (event) {
    case LIFECYCLE.undefined:
      return detail === 0 ? { type: "undefined", machineId } : undefined; // otherwise renamed
    case LIFECYCLE.started:
      return { type: "started", machineId };
    case LIFECYCLE.suspended:
    case LIFECYCLE.pmSuspended:
      return { type: "paused", machineId };
    case LIFECYCLE.resumed:
      return { type: "resumed", machineId };
    case LIFECYCLE.stopped:
      return { type: "stopped", machineId, how: STOPPED[detail] ?? "unknown" };
    case LIFECYCLE.crashed:
      return { type: "panicked", machineId };
    default:
      return undefined;
  }
}
