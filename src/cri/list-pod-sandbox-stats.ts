import type { Engine } from "../engine/engine.ts";
import type {
  ListPodSandboxStatsRequest,
  ListPodSandboxStatsResponse,
  PodSandboxStats,
  PodSandboxStatsFilter,
  StreamPodSandboxStatsRequest,
  StreamPodSandboxStatsResponse,
} from "../gen/runtime.ts";
import { inPieces, matchesLabels } from "./convert-shared.ts";
import { podSandboxStatsOf } from "./convert-stats.ts";
import { findPodId } from "./find.ts";
import type { Streamed, Unary } from "./handler.ts";

export const listPodSandboxStats =
  (engine: Engine): Unary<ListPodSandboxStatsRequest, ListPodSandboxStatsResponse> =>
  async ({ filter }, signal) => ({ stats: await list(engine, filter, signal) });

export const streamPodSandboxStats = (
  engine: Engine,
): Streamed<StreamPodSandboxStatsRequest, StreamPodSandboxStatsResponse> =>
  async function* ({ filter }, signal) {
    for (const podSandboxStats of inPieces(await list(engine, filter, signal))) yield { podSandboxStats };
  };

/** Of pods that are ready. */
async function list(
  engine: Engine,
  filter: PodSandboxStatsFilter | undefined,
  signal: AbortSignal,
): Promise<PodSandboxStats[]> {
  const podId = findPodId(engine, filter?.id ?? "");
  const wanted = engine.pods
    .pods()
    .filter(
      ({ facts, state }) =>
        state.at === "ready" &&
        (podId === "" || facts.podId === podId) &&
        matchesLabels(facts.spec.labels, filter?.labelSelector),
    );
  return (await engine.stats.ofPods(wanted, signal)).map(podSandboxStatsOf);
}
