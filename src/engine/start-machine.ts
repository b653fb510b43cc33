// StartContainer: the domain is started paused, wired to the pod's network, and let go.

import { undoSignal } from "../lib/undo.ts";
import { VmletError } from "../model/failure.ts";
import type { MachineId } from "../model/ids.ts";
import { tapNameOf } from "../model/machine-plan.ts";
import type { MachineRecord, PodRecord } from "../ports/pod-store.ts";
import { consoleLogRequestOf } from "./follow-console.ts";
import { type Parts, UNDO_LIMIT_MS } from "./parts.ts";
import { placeMachine } from "./place-machine.ts";
import { planMachine } from "./plan-machine.ts";
import { resourcesInForce } from "./update-machine.ts";
import { wireRequestOf } from "./wire-machine.ts";

/**
 * How a machine gets to running: one step, so that another (a warm clone, a restored checkpoint) can take its place.
 * Resolves with the guest's CPUs running.
 */
type Launch = (parts: Parts, pod: PodRecord, machine: MachineRecord, signal: AbortSignal) => Promise<void>;

/**
 * Abort powers the machine off again: it is created as before. A guest's boot is not waited for.
 * @throws MACHINE_NOT_FOUND; WRONG_STATE unless the machine is created and its pod ready.
 */
export async function startMachine(parts: Parts, machineId: MachineId, signal: AbortSignal): Promise<void> {
  const { podId } = parts.pods.machine(machineId).facts;
  await parts.locks.run(podId, async () => await startHeldMachine(parts, machineId, coldBoot, signal), signal);
}

async function startHeldMachine(
  parts: Parts,
  machineId: MachineId,
  launch: Launch,
  signal: AbortSignal,
): Promise<void> {
  const { pods, clock } = parts;
  const machine = pods.machine(machineId);
  const pod = pods.pod(machine.facts.podId);
  // The caller holds the lock: this start is over, and could not be undone then.
  if (machine.state.at === "starting") await undoStart(parts, pod, machineId, "an earlier start could not be undone");
  if (pod.state.at !== "ready")
    throw new VmletError(
      { code: "WRONG_STATE", subject: "pod", state: pod.state.at },
      `pod sandbox ${pod.facts.podId} is ${pod.state.at}: its container cannot be started`,
    );
  if (pods.machine(machineId).state.at === "created") await powerOffStrangers(parts, machine);
  await pods.moveMachine(machineId, { type: "start-asked" });
  try {
    await launch(parts, pod, pods.machine(machineId), signal);
    await pods.moveMachine(machineId, { type: "started", nowMs: clock.nowMs() });
  } catch (error) {
    await undoStart(parts, pod, machineId, error);
    throw error;
  }
}

/** Finishes a start that the daemon's death cut off: what is missing is done, what was done is left. */
export async function resumeStart(parts: Parts, machineId: MachineId, signal: AbortSignal): Promise<void> {
  const { pods, hypervisor, clock } = parts;
  const machine = pods.machine(machineId);
  const pod = pods.pod(machine.facts.podId);
  const sighting = await hypervisor.look(machineId, signal);
  if (sighting?.condition.is !== "on" || pod.state.at !== "ready") {
    await undoStart(parts, pod, machineId, "the daemon ended before the start was complete");
    return;
  }
  const isUnstarted = sighting.condition.paused === "start";
  if (isUnstarted) await placeMachine(parts, pod, machine, signal);
  await connect(parts, pod, machine, signal);
  if (isUnstarted) await hypervisor.resume(machineId, signal);
  await pods.moveMachine(machineId, { type: "started", nowMs: clock.nowMs() });
}

/** QEMU from zero, CPUs stopped until the network is there. */
const coldBoot: Launch = async (parts, pod, machine, signal) => {
  const { hypervisor, images } = parts;
  const { machineId, imageDigest } = machine.facts;
  const { path, image } = await images.hold(imageDigest, machineId, signal);
  // Again, because libvirt may have lost it since; the same definition changes nothing.
  const { facts } = machine;
  const now = { ...facts, spec: { ...facts.spec, resources: resourcesInForce(machine) } };
  await hypervisor.define(planMachine(parts, pod, now, { path, format: image.format }), signal);
  await hypervisor.startPaused(machineId, signal);
  await placeMachine(parts, pod, machine, signal);
  await connect(parts, pod, machine, signal);
  await hypervisor.resume(machineId, signal);
};

/** Network and log. Connected already: repairs what is missing. */
export async function connect(
  parts: Parts,
  pod: PodRecord,
  machine: MachineRecord,
  signal: AbortSignal,
): Promise<void> {
  const request = wireRequestOf(pod, tapNameOf(machine.facts.machineId));
  if (request) await parts.wiring.wire(request, signal);
  await parts.consoleLogs.follow(consoleLogRequestOf(parts, machine), signal);
}

async function undoStart(parts: Parts, pod: PodRecord, machineId: MachineId, reason: unknown): Promise<void> {
  const { pods, hypervisor, machineCgroups, wiring, consoleLogs, log, observer } = parts;
  const { podId, netnsPath } = pod.facts;
  try {
    await hypervisor.destroy(machineId, undoSignal(UNDO_LIMIT_MS));
    await wiring.unwire({ podId, netnsPath }, undoSignal(UNDO_LIMIT_MS));
    await machineCgroups.leave(machineId, undoSignal(UNDO_LIMIT_MS));
    await consoleLogs.finish(machineId, undoSignal(UNDO_LIMIT_MS));
    await pods.moveMachine(machineId, { type: "start-undone" });
  } catch (undoError) {
    log.error("start could not be undone", { machine: machineId, error: undoError });
    observer.undoFailed("start-machine");
    throw new SuppressedError(undoError, reason, "start could not be undone");
  }
}

/**
 * Two VMs must never share a MAC or a disk: an earlier attempt that a person started by hand goes first, and so does
 * this one's own domain, should libvirt have finished a start that we gave up.
 */
async function powerOffStrangers(parts: Parts, { facts: { podId } }: MachineRecord): Promise<void> {
  const { pods, hypervisor, log } = parts;
  for (const { facts, state } of pods.machinesOf(podId)) {
    const { machineId } = facts;
    const sighting = await hypervisor.look(machineId, undoSignal(UNDO_LIMIT_MS));
    if (sighting?.condition.is !== "on") continue;
    log.warn("domain runs though its container does not: powering it off", { machine: machineId, state: state.at });
    await hypervisor.destroy(machineId, undoSignal(UNDO_LIMIT_MS));
  }
}
