// How to get into the guest of a machine.

import { EXEC_USER_ANNOTATION } from "../model/annotations.ts";
import { invalid, VmletError } from "../model/failure.ts";
import type { MachineId } from "../model/ids.ts";
import { RUN_AS_PATH } from "../model/run-as.ts";
import type { GuestTarget } from "../ports/guest-exec.ts";
import type { Parts } from "./parts.ts";
import { annotationsOf } from "./plan-machine.ts";

/**
 * What is run in the guest when that is asked for: as the user of the pod's security context, unless an annotation names one.
 * @throws SPEC_INVALID MACHINE_NOT_FOUND
 */
export function guestArgvOf(
  { pods }: Pick<Parts, "pods">,
  machineId: MachineId,
  argv: readonly string[],
): readonly string[] {
  if (argv.length === 0) throw invalid("cmd", "is empty: there is nothing to run");
  const { podId, spec } = pods.machine(machineId).facts;
  const isNamed = EXEC_USER_ANNOTATION in pods.pod(podId).facts.spec.annotations;
  return spec.runAs === undefined || isNamed ? argv : [RUN_AS_PATH, ...argv];
}

/** @throws MACHINE_NOT_FOUND; WRONG_STATE for a machine that does not run */
export function guestTargetOf(
  { options, pods, store }: Pick<Parts, "options" | "pods" | "store">,
  machineId: MachineId,
): GuestTarget {
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
    bootsUntilMs: state.startedAtMs + options.bootMs,
    ...(workingDir === "" ? {} : { workingDir }),
    ...(way === "agent" ? {} : { ssh: { socketPath, keyFolderPath } }),
  };
}
