// StopContainer: ask the guest to power off, wait for the grace period, then pull the plug.

import { failsWith } from "../model/failure.ts";
import type { MachineId } from "../model/ids.ts";
import type { MachineState } from "../model/machine.ts";
import { endMachine } from "./end-machine.ts";
import type { Parts } from "./parts.ts";

/** How long the guest agent may take to say that it heard; a guest without one then gets the power button. */
const AGENT_LIMIT_MS = 7_000;
/** A guest that is still booting misses the power button: it is pressed again while there is time. */
const PRESS_AGAIN_MS = 5_000;

/**
 * Unknown or exited: no change. A second call may only shorten the grace period. Abort leaves the machine stopping:
 * the power-off was asked for, and a repeated call goes on.
 * @param graceMs 0: at once.
 */
export async function stopMachine(
  parts: Parts,
  machineId: MachineId,
  graceMs: number,
  signal: AbortSignal,
): Promise<void> {
  const { pods, locks, clock } = parts;
  const found = pods.findMachine(machineId);
  if (!found || found.state.at === "exited") return;
  const { podId } = found.facts;
  const killAtMs = clock.nowMs() + graceMs;
  const leftMs = await locks.run(podId, async () => await beginStop(parts, machineId, killAtMs), signal);
  // Counted by a clock that nobody sets: the node's own may jump meanwhile.
  await untilOffOrLate(parts, machineId, performance.now() + Math.min(leftMs, graceMs), signal);
  await locks.run(
    podId,
    async () => {
      if (pods.findMachine(machineId)) await endMachine(parts, machineId);
    },
    signal,
  );
}

/** How long the guest has; an earlier call may have given it less. */
async function beginStop({ pods, clock }: Parts, machineId: MachineId, killAtMs: number): Promise<number> {
  const record = pods.findMachine(machineId);
  if (!record || (record.state.at !== "running" && record.state.at !== "stopping")) return 0;
  const state = await pods.moveMachine(machineId, { type: "stop-asked", killAtMs });
  return state.at === "stopping" ? state.killAtMs - clock.nowMs() : 0;
}

/** Presses the power button now and then, until the machine is off or its time is over. */
async function untilOffOrLate(
  parts: Parts,
  machineId: MachineId,
  deadlineMs: number,
  signal: AbortSignal,
): Promise<void> {
  const { pods, log } = parts;
  const leftMsNow = (): number => Math.ceil(deadlineMs - performance.now()); // timers want whole numbers
  for (let via: "agent" | "acpi" = "agent"; ; via = "acpi") {
    const state = pods.findMachine(machineId)?.state;
    if (state?.at !== "stopping") return;
    const leftMs = leftMsNow();
    if (leftMs <= 0) return;
    const heard = await ask(parts, machineId, via, Math.min(AGENT_LIMIT_MS, leftMs), signal);
    log.debug("power-off asked for", { machine: machineId, via, heard });
    if (via === "agent" && !heard) continue;
    await untilMoved(parts, machineId, state, Math.min(PRESS_AGAIN_MS, leftMsNow()), signal);
  }
}

async function ask(
  { hypervisor }: Parts,
  machineId: MachineId,
  via: "agent" | "acpi",
  limitMs: number,
  signal: AbortSignal,
): Promise<boolean> {
  try {
    await hypervisor.askToPowerOff(machineId, via, AbortSignal.any([signal, AbortSignal.timeout(limitMs)]));
    return true;
  } catch (error) {
    signal.throwIfAborted();
    // No agent, no ACPI, a stuck QEMU, libvirtd away: the plug is pulled at the end of the grace period all the same.
    return failsWith(error, "DOMAIN_NOT_FOUND");
  }
}

/** Until the state is another one (exited, or a shorter grace period), at most `limitMs`. */
async function untilMoved(
  { pods }: Parts,
  machineId: MachineId,
  from: MachineState,
  limitMs: number,
  signal: AbortSignal,
): Promise<void> {
  if (limitMs <= 0) return;
  const limit = AbortSignal.timeout(limitMs);
  try {
    await pods.until(machineId, (state) => state !== from, AbortSignal.any([signal, limit]));
  } catch (error) {
    if (!limit.aborted) throw error;
    signal.throwIfAborted();
  }
}
