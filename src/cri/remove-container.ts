import type { Engine } from "../engine/engine.ts";
import type { RemoveContainerRequest, RemoveContainerResponse } from "../gen/runtime.ts";
import { findMachineId } from "./find.ts";
import type { Unary } from "./handler.ts";

/** Unknown: OK, as the interface demands. Running: powered off first, as the interface demands too. */
export const removeContainer =
  (engine: Engine): Unary<RemoveContainerRequest, RemoveContainerResponse> =>
  async ({ containerId }, signal) => {
    await engine.removeMachine(findMachineId(engine, containerId), signal);
    return {};
  };
