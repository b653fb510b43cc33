import type { Engine } from "../engine/engine.ts";
import type { StartContainerRequest, StartContainerResponse } from "../gen/runtime.ts";
import { findMachineId } from "./find.ts";
import type { Unary } from "./handler.ts";

export const startContainer =
  (engine: Engine): Unary<StartContainerRequest, StartContainerResponse> =>
  async ({ containerId }, signal) => {
    await engine.startMachine(findMachineId(engine, containerId), signal);
    return {};
  };
