// Our Image, ImagePull and Machine -> vmlet.v1's.

import { type Image as ApiImage, type Machine as ApiMachine, PullPhase, type PullProgress } from "../gen/vmlet.ts";
import type { Image } from "../model/image.ts";
import type { ImagePull } from "../model/image-pull.ts";
import type { MachineState } from "../model/machine.ts";
import type { MachineRecord, PodRecord } from "../ports/pod-store.ts";

export function imageOf(image: Image): ApiImage {
  return {
    digest: image.digest,
    repoTags: [...image.repoTags],
    repoDigests: [...image.repoDigests],
    format: image.format,
    sizeBytes: BigInt(image.sizeBytes),
    virtualSizeBytes: BigInt(image.virtualSizeBytes),
    pinned: image.isPinned,
    pulledAtMs: whole(image.pulledAtMs ?? 0),
  };
}

const PHASES = {
  asking: PullPhase.PULL_PHASE_ASKING,
  waiting: PullPhase.PULL_PHASE_WAITING,
  receiving: PullPhase.PULL_PHASE_RECEIVING,
  checking: PullPhase.PULL_PHASE_CHECKING,
} as const satisfies Record<ImagePull["phase"], PullPhase>;

export function progressOf(pull: ImagePull): PullProgress {
  return {
    pullId: pull.pullId,
    image: pull.image,
    phase: PHASES[pull.phase],
    startedAtMs: whole(pull.startedAtMs),
    receivedBytes: BigInt(pull.receivedBytes),
    totalBytes: pull.totalBytes === undefined ? undefined : BigInt(pull.totalBytes),
    bytesPerSecond: whole(pull.bytesPerSecond),
    waiters: [...pull.waiters],
  };
}

export function machineOf(
  { facts, state }: MachineRecord,
  pod: PodRecord | undefined,
  condition: string | undefined,
): ApiMachine {
  const attachment = pod !== undefined && "attachment" in pod.state ? pod.state.attachment : undefined;
  return {
    machineId: facts.machineId,
    podId: facts.podId,
    podNamespace: pod?.facts.spec.namespace ?? "",
    podName: pod?.facts.spec.name ?? "",
    name: facts.spec.name,
    state: state.at,
    ips: (attachment?.addresses ?? []).map(({ address }) => address),
    domainName: facts.domainName,
    image: facts.spec.userImage,
    createdAtMs: whole(facts.createdAtMs),
    ...timesOf(state),
    condition: condition ?? "",
  };
}

function timesOf(state: MachineState): Pick<ApiMachine, "startedAtMs" | "finishedAtMs" | "exitCode"> {
  const startedAtMs = "startedAtMs" in state ? whole(state.startedAtMs) : undefined;
  if (state.at !== "exited") return { startedAtMs, finishedAtMs: undefined, exitCode: undefined };
  const { finishedAtMs, exitCode } = state.exit;
  return { startedAtMs, finishedAtMs: whole(finishedAtMs), exitCode };
}

const whole = (number: number): bigint => BigInt(Math.round(number));
