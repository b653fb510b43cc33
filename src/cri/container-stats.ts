import type { Engine } from "../engine/engine.ts";
import type { ContainerStatsRequest, ContainerStatsResponse } from "../gen/runtime.ts";
import { containerStatsOf } from "./convert-stats.ts";
import { findMachineId } from "./find.ts";
import type { Unary } from "./handler.ts";

/** Of one that does not run: what its disk takes. */
export const containerStats =
  (engine: Engine): Unary<ContainerStatsRequest, ContainerStatsResponse> =>
  async ({ containerId }) => {
    const [stats] = await engine.stats.of([engine.pods.machine(findMachineId(engine, containerId))]);
    return { stats: stats && containerStatsOf(stats) };
  };
