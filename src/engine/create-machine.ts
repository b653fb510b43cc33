// CreateContainer: disk, seed and a defined domain. Nothing runs yet.

import { isDeepStrictEqual } from "node:util";
import { failsWith, VmletError } from "../model/failure.ts";
import { type MachineId, newMachineId, type PodId } from "../model/ids.ts";
import type { Image } from "../model/image.ts";
import type { MachineFacts, MachineSpec } from "../model/machine.ts";
import { domainNameOf } from "../model/machine-plan.ts";
import type { MachineRecord, PodRecord } from "../ports/pod-store.ts";
import { carryMounts } from "./carry-mounts.ts";
import { endMachine } from "./end-machine.ts";
import type { Parts } from "./parts.ts";
import { annotationsOf, planMachine, planSeed } from "./plan-machine.ts";
import { clearMachine } from "./remove-machine.ts";

/**
 * Abort undoes what was done. The same call again, while the machine is not started, gives the same machine.
 * @throws POD_NOT_FOUND IMAGE_NOT_FOUND SPEC_INVALID DISK_FULL; WRONG_STATE for a pod that is going down or that
 *   has a live machine, unless that is an earlier attempt which was never started; NAME_TAKEN for another spec under
 *   the same name and attempt.
 */
export async function createMachine(
  parts: Parts,
  podId: PodId,
  spec: MachineSpec,
  signal: AbortSignal,
): Promise<MachineId> {
  return await parts.locks.run(
    podId,
    async () => {
      const pod = readyPod(parts, podId);
      const same = whole(parts, podId).find((machine) => isSameName(machine.facts.spec, spec));
      if (same) return joinMachine(same, spec);
      await endUnstarted(parts, podId, spec);
      refuseSecond(parts, podId);
      await clearIntended(parts, podId);
      return await makeMachine(parts, pod, spec, signal);
    },
    signal,
  );
}

function readyPod({ pods }: Parts, podId: PodId): PodRecord {
  const broken = pods.findBroken(podId);
  if (broken) throw new VmletError({ code: "RECORD_BROKEN", path: broken.path }, `${broken.error}; remove the pod`);
  const pod = pods.pod(podId);
  if (pod.state.at === "ready") return pod;
  throw new VmletError(
    { code: "WRONG_STATE", subject: "pod", state: pod.state.at },
    `pod sandbox ${podId} is ${pod.state.at}: a container can only be created in a ready one`,
  );
}

/** Without what is left of creations that were given up: the caller holds the lock, so nobody is creating now. */
function whole({ pods }: Pick<Parts, "pods">, podId: PodId): readonly MachineRecord[] {
  return pods.machinesOf(podId).filter(({ state }) => state.at !== "intended");
}

const isSameName = (a: MachineSpec, b: MachineSpec): boolean => a.name === b.name && a.attempt === b.attempt;

function joinMachine({ facts, state }: MachineRecord, spec: MachineSpec): MachineId {
  if (state.at === "created" && isDeepStrictEqual(facts.spec, spec)) return facts.machineId;
  const name = `${spec.name} (attempt ${spec.attempt})`;
  throw new VmletError(
    { code: "NAME_TAKEN", name, holder: facts.machineId },
    `container ${name} exists as ${facts.machineId}, which is ${state.at}; remove that one first or raise the attempt`,
  );
}

/**
 * After a StartContainer that failed the kubelet neither repeats it nor removes the container: it creates the next
 * attempt beside it. So an attempt that never ran makes way for the next one, also one whose start could not be undone:
 * the caller holds the lock, so nobody is starting it now.
 */
async function endUnstarted(parts: Parts, podId: PodId, { name, attempt }: MachineSpec): Promise<void> {
  for (const { facts, state } of parts.pods.machinesOf(podId)) {
    const isEarlier = facts.spec.name === name && facts.spec.attempt < attempt;
    if (isEarlier && (state.at === "created" || state.at === "starting")) await endMachine(parts, facts.machineId);
  }
}

/** What earlier creations could not take back. Their records stay: libvirt may be late with a definition even now. */
async function clearIntended(parts: Parts, podId: PodId): Promise<void> {
  for (const { facts, state } of parts.pods.machinesOf(podId))
    if (state.at === "intended") await clearMachine(parts, facts.machineId);
}

function refuseSecond({ pods }: Parts, podId: PodId): void {
  const live = whole({ pods }, podId).find(({ state }) => state.at !== "exited");
  if (!live) return;
  const { machineId, spec } = live.facts;
  throw new VmletError(
    { code: "WRONG_STATE", subject: "pod", state: "occupied" },
    `pod sandbox ${podId} has container ${spec.name} (${machineId}), which is ${live.state.at}: a VM pod runs one ` +
      "container at a time, because pod and VM are one; run the second in a pod of its own",
  );
}

async function makeMachine(parts: Parts, pod: PodRecord, spec: MachineSpec, signal: AbortSignal): Promise<MachineId> {
  const { pods, images, disks, seed, hypervisor } = parts;
  const image = imageOf(parts, spec);
  const { files, notices } = await carryMounts(parts, pod, spec, signal);
  const facts = factsOf(parts, pod, spec, image, notices);
  const { machineId, podId } = facts;
  // Everything that can be refused is refused here, before the first side effect.
  planMachine(parts, pod, facts, { path: "/", format: image.format });
  try {
    await pods.addMachine({ facts, state: { at: "intended" } });
    const held = await images.hold(image.digest, machineId, signal);
    const plan = planMachine(parts, pod, facts, { path: held.path, format: image.format });
    const virtualSizeBytes = Math.max(image.virtualSizeBytes, annotationsOf(pod).rootSizeBytes ?? 0);
    const base = { ...plan.disk.base, virtualSizeBytes: image.virtualSizeBytes };
    await disks.createOverlay({ path: plan.disk.overlayPath, base, virtualSizeBytes }, signal);
    await seed.build(planSeed(parts, pod, facts, files), signal);
    await hypervisor.define(plan, signal);
    await pods.moveMachine(machineId, { type: "created" });
    for (const notice of notices) parts.log.info("left out of the machine", { pod: podId, machine: machineId, notice });
    return machineId;
  } catch (error) {
    await abandonMachine(parts, facts, error);
    throw error;
  }
}

/** Undoes a machine that did not come about. When that fails too, its record stays for the pod's Stop and Remove. */
async function abandonMachine(parts: Parts, { podId, machineId }: MachineFacts, reason: unknown): Promise<void> {
  try {
    await clearMachine(parts, machineId);
    // libvirt may carry out a late definition after we looked: the record stays, so that the pod's end looks again.
    if (isOutcomeUnknown(reason)) return;
    if (parts.pods.findMachine(machineId)) await parts.pods.dropMachine(machineId);
    await parts.store.removeMachine(podId, machineId); // where the very first save failed half-way
  } catch (undoError) {
    parts.log.error("machine could not be undone", { machine: machineId, error: undoError });
    parts.observer.undoFailed("create-machine");
    throw new SuppressedError(undoError, reason, "machine could not be undone");
  }
}

/** True when libvirt was asked and nobody knows whether it will do it. */
function isOutcomeUnknown(error: unknown): boolean {
  if (error instanceof DOMException) return true; // abort, or a time limit
  return (["TIMED_OUT", "HYPERVISOR_STUCK", "HYPERVISOR_GONE"] as const).some((code) => failsWith(error, code));
}

function imageOf({ images }: Parts, { image }: MachineSpec): Image {
  const found = images.find(image);
  if (found) return found;
  throw new VmletError(
    { code: "IMAGE_NOT_FOUND", image },
    `config.image.image: "${image}" is not on this node; pull it first`,
  );
}

function factsOf(
  { clock }: Parts,
  pod: PodRecord,
  spec: MachineSpec,
  image: Image,
  notices: readonly string[],
): MachineFacts {
  const machineId = newMachineId();
  const { namespace, name } = pod.facts.spec;
  return {
    machineId,
    podId: pod.facts.podId,
    spec,
    imageDigest: image.digest,
    createdAtMs: clock.nowMs(),
    domainName: domainNameOf(namespace, name, machineId),
    notices,
  };
}
