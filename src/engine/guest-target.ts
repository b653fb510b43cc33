// How to get into the guest of a machine.

import { VmletError } from "../model/failure.ts";
import type { MachineId } from "../model/ids.ts";
import type { GuestTarget } from "../ports/guest-exec.ts";
import type { Parts } from "./parts.ts";
import { annotationsOf } from "./plan-machine.ts";

/** @throws MACHINE_NOT_FOUND; WRONG_STATE for a machine that does not run */
export function guestTargetOf({ pods, store }: Pick<Parts, "pods" | "store">, machineId: MachineId): GuestTarget {
  const { facts, state } = pods.machine(machineId);
  if (state.at !== "running" && state.at !== "stopping")
    throw new VmletError(
      { code: "WRONG_STATE", subject: "container", state: state.at },
      `container ${machineId} is ${state.at}: a command can only run in a running one`,
    );
  const { execWay: way, execUser: user } = annotationsOf(pods.pod(facts.podId));
  const { sshSocketPath: socketPath, sshKeyFolderPath: keyFolderPath } = store.pathsOf(facts.podId, machineId);
  const { workingDir } = facts.spec;
  return {
    machineId,
    way,
    user,
    ...(workingDir === "" ? {} : { workingDir }),
    ...(way === "agent" ? {} : { ssh: { socketPath, keyFolderPath } }),
  };
}
