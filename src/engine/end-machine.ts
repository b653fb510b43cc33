// The end of a machine: how it came to it, told once, truly, with its log complete.

import { undoSignal } from "../lib/undo.ts";
import type { MachineId } from "../model/ids.ts";
import type { Exit, ExitReason } from "../model/machine.ts";
import type { MachineCondition, MachineSighting } from "../ports/hypervisor.ts";
import type { MachineRecord } from "../ports/pod-store.ts";
import { consoleLogRequestOf } from "./follow-console.ts";
import { type Parts, UNDO_LIMIT_MS } from "./parts.ts";

/** `vanished`: the hypervisor does not show it any more, for its domain was removed under us. */
type Ended = Extract<MachineCondition, { is: "off" }>["ended"] | "out-of-memory" | "vanished";

/** Powers the machine off if need be and settles its exit. Exited: no change. The caller holds the pod's lock. */
export async function endMachine(parts: Parts, machineId: MachineId): Promise<void> {
  const { pods, hypervisor } = parts;
  const { state } = pods.machine(machineId);
  if (state.at === "exited") return;
  const before = await hypervisor.look(machineId, undoSignal(UNDO_LIMIT_MS));
  await hypervisor.destroy(machineId, undoSignal(UNDO_LIMIT_MS));
  const wasStarted = state.at !== "intended" && state.at !== "created";
  const look = async () => await hypervisor.look(machineId, undoSignal(UNDO_LIMIT_MS));
  const ended = wasStarted ? endOf(parts, await look()) : "never-started";
  // A QEMU that had to be killed looks like one that crashed.
  const wasKilled = before?.condition.is === "on" && ended === "crashed";
  await settleExit(parts, pods.machine(machineId), wasKilled ? "destroyed" : ended);
}

/** How the machine is while it is on; otherwise settles its exit. The caller holds the pod's lock. */
export async function settleUnlessOn(
  parts: Parts,
  machineId: MachineId,
  signal: AbortSignal,
): Promise<MachineSighting | undefined> {
  const sighting = await parts.hypervisor.look(machineId, signal);
  if (sighting?.condition.is === "on") return sighting;
  await settleExit(parts, parts.pods.machine(machineId), endOf(parts, sighting));
  return undefined;
}

function endOf({ meter }: Parts, sighting: MachineSighting | undefined): Ended {
  if (!sighting) return "vanished";
  const { condition, lastPid } = sighting;
  if (condition.is === "on") return "unknown";
  const isCrash = condition.ended === "crashed" || condition.ended === "failed";
  return isCrash && lastPid !== undefined && meter.wasKilledForMemory(lastPid) ? "out-of-memory" : condition.ended;
}

async function settleExit(parts: Parts, record: MachineRecord, ended: Ended): Promise<void> {
  const { pods, consoleLogs, machineCgroups, wiring, seed, store, clock, log } = parts;
  const { machineId, podId } = record.facts;
  const pod = pods.findPod(podId);
  const finishedAtMs = clock.nowMs();
  if (ended !== "never-started") {
    // Followed first: what it printed while no daemon ran belongs in its log too.
    await consoleLogs.follow(consoleLogRequestOf(parts, record), undoSignal(UNDO_LIMIT_MS));
  }
  await consoleLogs.finish(machineId, undoSignal(UNDO_LIMIT_MS));
  if (pod) {
    const { netnsPath } = pod.facts;
    await wiring.unwire({ podId, netnsPath }, undoSignal(UNDO_LIMIT_MS));
  }
  await machineCgroups.leave(machineId, undoSignal(UNDO_LIMIT_MS));
  const workloadExitCode = await seed.readInitReport(store.pathsOf(podId, machineId).initReportPath);
  const exit = { finishedAtMs, ...verdictOn(record, ended, workloadExitCode) };
  pods.setCondition(machineId, undefined);
  await pods.moveMachine(machineId, { type: "ended", exit });
  log.info("machine exited", { machine: machineId, pod: podId, ended, exitCode: exit.exitCode, reason: exit.reason });
}

/** The workload's own word counts first; then how the domain ended. */
function verdictOn(
  { facts: { spec }, state }: MachineRecord,
  ended: Ended,
  workloadExitCode: number | undefined,
): Omit<Exit, "finishedAtMs"> {
  if (workloadExitCode !== undefined)
    return { exitCode: workloadExitCode, reason: workloadExitCode === 0 ? "Completed" : "Error", message: "" };
  switch (ended) {
    case "shutdown":
      // 128 and SIGTERM, as of a container's command. With 0 a Job would be done when its node is drained.
      if (state.at === "stopping" && spec.command.length + spec.args.length > 0)
        return failed(143, "the guest was asked to power off before its command had told how it ended");
      return { exitCode: 0, reason: "Completed", message: "" };
    case "out-of-memory":
      return {
        exitCode: 137,
        reason: "OOMKilled",
        message: "the node's kernel ended the VM for want of memory; raise its memory limit or the pod's overhead",
      };
    case "never-started":
      return failed(137, "stopped before it was started");
    case "destroyed":
      return failed(137, "powered off without the guest's consent");
    case "crashed":
      return failed(255, "the guest panicked or QEMU crashed");
    case "failed":
      return failed(255, "QEMU could not start or go on");
    case "vanished":
      return failed(137, "the domain is gone: it was undefined, or the node was restarted");
    case "taken-away":
      return failed(137, "saved to a file or migrated by hand: `virsh restore` does not bring the container back");
    case "unknown":
      return failed(137, "it ended while nobody watched");
  }
}

function failed(exitCode: number, message: string): { exitCode: number; reason: ExitReason; message: string } {
  return { exitCode, reason: "Error", message };
}
