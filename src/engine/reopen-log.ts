// ReopenContainerLog: after the kubelet moved the log away.

import { VmletError } from "../model/failure.ts";
import type { MachineId } from "../model/ids.ts";
import type { Parts } from "./parts.ts";

/** @throws MACHINE_NOT_FOUND; WRONG_STATE for a machine that does not run: the interface wants a running one. */
export async function reopenLog(
  { pods, consoleLogs }: Parts,
  machineId: MachineId,
  signal: AbortSignal,
): Promise<void> {
  const { state } = pods.machine(machineId);
  if (state.at !== "running" && state.at !== "stopping")
    throw new VmletError(
      { code: "WRONG_STATE", subject: "container", state: state.at },
      `container ${machineId} is ${state.at}: only a running container's log can be reopened`,
    );
  await consoleLogs.reopen(machineId, signal);
}
