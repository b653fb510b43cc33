// What a call that succeeded changed: so that the mirror has it before the next list does.

import {
  Container,
  ContainerState,
  CreateContainerRequest,
  PodSandbox,
  PodSandboxState,
  RunPodSandboxRequest,
} from "../gen/runtime.ts";
import { textAt } from "./fields.ts";
import type { Mirror } from "./mirror.ts";

const ID_FIELD = 1;
const RUNTIME = "/runtime.v1.RuntimeService/";

/** Whether a call's success must be told to a mirror. */
export function isChange(path: string): boolean {
  return CHANGES.has(path);
}

/** Whether it made something that a list must not lack from then on. */
export function isCreation(path: string): boolean {
  return path === `${RUNTIME}RunPodSandbox` || path === `${RUNTIME}CreateContainer`;
}

/** @throws when request or answer is malformed. */
export function learnChange(mirror: Mirror, path: string, request: Uint8Array, answer: Uint8Array): void {
  CHANGES.get(path)?.(mirror, request, answer);
}

type Change = (mirror: Mirror, request: Uint8Array, answer: Uint8Array) => void;

const wholeId = (mirror: Mirror, kind: "PodSandbox" | "Container", request: Uint8Array): string => {
  const given = textAt(request, ID_FIELD);
  return mirror.find(kind, given) ?? given;
};

const nowNs = (): bigint => BigInt(Date.now()) * 1_000_000n;

const CHANGES: ReadonlyMap<string, Change> = new Map<string, Change>([
  [
    `${RUNTIME}RunPodSandbox`,
    (mirror, request, answer) => {
      const { config, runtimeHandler } = RunPodSandboxRequest.decode(request);
      const { metadata, labels = {}, annotations = {} } = config ?? {};
      const id = textAt(answer, ID_FIELD);
      const state = PodSandboxState.SANDBOX_READY;
      const pod = { id, metadata, state, createdAt: nowNs(), labels, annotations, runtimeHandler };
      mirror.put("PodSandbox", PodSandbox.encode(pod).finish());
    },
  ],
  [
    `${RUNTIME}CreateContainer`,
    (mirror, request, answer) => {
      const { config } = CreateContainerRequest.decode(request);
      const { metadata, image, labels = {}, annotations = {} } = config ?? {};
      const imageRef = image?.image ?? "";
      const container: Container = {
        id: textAt(answer, ID_FIELD),
        podSandboxId: wholeId(mirror, "PodSandbox", request),
        metadata,
        image,
        imageRef,
        imageId: imageRef,
        state: ContainerState.CONTAINER_CREATED,
        createdAt: nowNs(),
        labels,
        annotations,
      };
      mirror.put("Container", Container.encode(container).finish());
    },
  ],
  [
    `${RUNTIME}StartContainer`,
    (mirror, request) =>
      mirror.setContainerState(wholeId(mirror, "Container", request), ContainerState.CONTAINER_RUNNING),
  ],
  [
    `${RUNTIME}StopContainer`,
    (mirror, request) =>
      mirror.setContainerState(wholeId(mirror, "Container", request), ContainerState.CONTAINER_EXITED),
  ],
  [`${RUNTIME}RemoveContainer`, (mirror, request) => mirror.removeContainer(wholeId(mirror, "Container", request))],
  [`${RUNTIME}StopPodSandbox`, (mirror, request) => mirror.stopSandbox(wholeId(mirror, "PodSandbox", request))],
  [`${RUNTIME}RemovePodSandbox`, (mirror, request) => mirror.removeSandbox(wholeId(mirror, "PodSandbox", request))],
]);
