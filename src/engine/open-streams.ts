// Exec, attach and port-forward: where a client may open its stream, and how long the stream makes sense.

import { VmletError } from "../model/failure.ts";
import type { MachineId, PodId } from "../model/ids.ts";
import type { StreamsWanted } from "../ports/streaming.ts";
import { guestArgvOf, guestTargetOf } from "./guest-target.ts";
import type { Parts } from "./parts.ts";

/** A URL. @throws MACHINE_NOT_FOUND SPEC_INVALID; WRONG_STATE for a machine that does not run */
export async function openExec(
  parts: Parts,
  machineId: MachineId,
  { argv, wanted }: { readonly argv: readonly string[]; readonly wanted: StreamsWanted },
  signal: AbortSignal,
): Promise<string> {
  const inGuest = guestArgvOf(parts, machineId, argv);
  return await parts.streaming.exec({ target: guestTargetOf(parts, machineId), argv: inGuest, wanted }, signal);
}

/** A URL. @throws MACHINE_NOT_FOUND; WRONG_STATE for a machine that does not run */
export async function openAttach(
  { pods, store, streaming }: Parts,
  machineId: MachineId,
  wanted: StreamsWanted,
  signal: AbortSignal,
): Promise<string> {
  const { facts, state } = pods.machine(machineId);
  if (state.at !== "running" && state.at !== "stopping") {
    throw new VmletError(
      { code: "WRONG_STATE", subject: "container", state: state.at },
      `container ${machineId} is ${state.at}: only a running one has a console to attach to`,
    );
  }
  const { consoleFilePath, consoleSocketPath } = store.pathsOf(facts.podId, machineId);
  const { input, command, args } = facts.spec;
  const isPipes = input !== undefined && !input.isTty && command.length + args.length > 0;
  const pipes = isPipes ? { pipes: { isOnce: input.isOnce } } : {};
  return await streaming.attach({ machineId, consoleFilePath, consoleSocketPath, ...pipes, wanted }, signal);
}

/** A URL. @throws POD_NOT_FOUND; WRONG_STATE for a pod that is not ready */
export async function openPortForward(
  { pods, streaming }: Parts,
  podId: PodId,
  ports: readonly number[],
  signal: AbortSignal,
): Promise<string> {
  const { state } = pods.pod(podId);
  if (state.at !== "ready") {
    throw new VmletError(
      { code: "WRONG_STATE", subject: "pod", state: state.at },
      `pod sandbox ${podId} is ${state.at}: only a ready one has ports to forward`,
    );
  }
  const addresses = state.attachment.addresses.map(({ address }) => address);
  return await streaming.portForward({ podId, addresses, ports }, signal);
}

/** Resolves when a stream to it has lost its sense: the machine exited or is gone, the pod stops or is gone. */
export async function untilEnded(
  { pods }: Pick<Parts, "pods">,
  subject: { readonly machineId: MachineId } | { readonly podId: PodId },
  signal: AbortSignal,
): Promise<void> {
  if ("machineId" in subject) {
    await pods.until(subject.machineId, ({ at }) => at === "exited", signal);
    return;
  }
  await pods.untilPod(subject.podId, ({ at }) => at !== "ready", signal);
}
