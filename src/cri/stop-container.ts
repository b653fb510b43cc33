import type { Engine } from "../engine/engine.ts";
import type { StopContainerRequest, StopContainerResponse } from "../gen/runtime.ts";
import { findMachineId } from "./find.ts";
import type { Unary } from "./handler.ts";

/** Longer than any grace period that means one; keeps times within a double and timers within 31 bits. */
const MAX_GRACE_SECONDS = 7 * 24 * 3600;

/** Unknown: OK, as the interface demands. A negative or zero timeout: at once. */
export const stopContainer =
  (engine: Engine): Unary<StopContainerRequest, StopContainerResponse> =>
  async ({ containerId, timeout }, signal) => {
    const graceSeconds = Math.min(Math.max(0, Number(timeout)), MAX_GRACE_SECONDS);
    await engine.stopMachine(findMachineId(engine, containerId), graceSeconds * 1000, signal);
    return {};
  };
