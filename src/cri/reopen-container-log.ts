import type { Engine } from "../engine/engine.ts";
import type { ReopenContainerLogRequest, ReopenContainerLogResponse } from "../gen/runtime.ts";
import { findMachineId } from "./find.ts";
import type { Unary } from "./handler.ts";

export const reopenContainerLog =
  (engine: Engine): Unary<ReopenContainerLogRequest, ReopenContainerLogResponse> =>
  async ({ containerId }, signal) => {
    await engine.reopenLog(findMachineId(engine, containerId), signal);
    return {};
  };
