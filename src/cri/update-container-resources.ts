import type { Engine } from "../engine/engine.ts";
import type { UpdateContainerResourcesRequest, UpdateContainerResourcesResponse } from "../gen/runtime.ts";
import { resourcesOf } from "./convert-shared.ts";
import { findMachineId } from "./find.ts";
import type { Unary } from "./handler.ts";

export const updateContainerResources =
  (engine: Engine): Unary<UpdateContainerResourcesRequest, UpdateContainerResourcesResponse> =>
  async ({ containerId, linux }, signal) => {
    await engine.updateMachine(findMachineId(engine, containerId), resourcesOf(linux, "linux"), signal);
    return {};
  };
