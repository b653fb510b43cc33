import type { Engine } from "../engine/engine.ts";
import type {
  ListPodSandboxRequest,
  ListPodSandboxResponse,
  PodSandbox,
  PodSandboxFilter,
  StreamPodSandboxesRequest,
  StreamPodSandboxesResponse,
} from "../gen/runtime.ts";
import { brokenPodSandboxOf, matchesPodFilter, podSandboxOf } from "./convert-pod.ts";
import { inPieces } from "./convert-shared.ts";
import { findPodId } from "./find.ts";
import type { Streamed, Unary } from "./handler.ts";
import { keptUntilChange } from "./kept-answers.ts";

export function listPodSandbox(engine: Engine): Unary<ListPodSandboxRequest, ListPodSandboxResponse> {
  const answer = keptUntilChange(engine, (filter: PodSandboxFilter | undefined) => ({ items: list(engine, filter) }));
  return ({ filter }) => answer(filter);
}

export const streamPodSandboxes = (engine: Engine): Streamed<StreamPodSandboxesRequest, StreamPodSandboxesResponse> =>
  function* ({ filter }) {
    for (const podSandboxes of inPieces(list(engine, filter))) yield { podSandboxes };
  };

/** A pod that is still being run has no id that anyone was told. */
function list(engine: Engine, filter: PodSandboxFilter | undefined): PodSandbox[] {
  const { pods } = engine;
  const whole = filter && { ...filter, id: findPodId(engine, filter.id) }; // people copy short ids from crictl's tables
  return [
    ...pods
      .pods()
      .filter(({ state }) => state.at !== "intended")
      .map((pod) => podSandboxOf(pod, pods.findBroken(pod.facts.podId))),
    ...pods
      .broken()
      .filter(({ podId }) => !pods.findPod(podId))
      .map(brokenPodSandboxOf),
  ].filter((pod) => matchesPodFilter(pod, whole));
}
