import type { Engine } from "../engine/engine.ts";
import type {
  ListPodSandboxMetricsRequest,
  ListPodSandboxMetricsResponse,
  PodSandboxMetrics,
  StreamPodSandboxMetricsRequest,
  StreamPodSandboxMetricsResponse,
} from "../gen/runtime.ts";
import { inPieces } from "./convert-shared.ts";
import type { Streamed, Unary } from "./handler.ts";
import { podSandboxMetricsOf } from "./metrics.ts";

export const listPodSandboxMetrics =
  (engine: Engine): Unary<ListPodSandboxMetricsRequest, ListPodSandboxMetricsResponse> =>
  async (_request, signal) => ({ podMetrics: await list(engine, signal) });

export const streamPodSandboxMetrics = (
  engine: Engine,
): Streamed<StreamPodSandboxMetricsRequest, StreamPodSandboxMetricsResponse> =>
  async function* (_request, signal) {
    for (const podSandboxMetrics of inPieces(await list(engine, signal))) yield { podSandboxMetrics };
  };

/** Of pods that are ready. */
async function list(engine: Engine, signal: AbortSignal): Promise<PodSandboxMetrics[]> {
  const ready = engine.pods.pods().filter(({ state }) => state.at === "ready");
  const stats = await engine.stats.ofPods(ready, signal);
  const running = stats.flatMap(({ machines }) => machines.map(({ machine }) => machine.facts.machineId));
  const reports = engine.guestReports.latest(running);
  return stats.map((each) => podSandboxMetricsOf(each, reports));
}
