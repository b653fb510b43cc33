import type { Engine } from "../engine/engine.ts";
import type { PodSandboxStatsRequest, PodSandboxStatsResponse } from "../gen/runtime.ts";
import { podSandboxStatsOf } from "./convert-stats.ts";
import { findPodId } from "./find.ts";
import type { Unary } from "./handler.ts";

export const podSandboxStats =
  (engine: Engine): Unary<PodSandboxStatsRequest, PodSandboxStatsResponse> =>
  async ({ podSandboxId }, signal) => {
    const pod = engine.pods.pod(findPodId(engine, podSandboxId));
    const [stats] = await engine.stats.ofPods([pod], signal);
    return { stats: stats && podSandboxStatsOf(stats) };
  };
