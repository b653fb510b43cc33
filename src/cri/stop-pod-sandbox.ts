import type { Engine } from "../engine/engine.ts";
import type { StopPodSandboxRequest, StopPodSandboxResponse } from "../gen/runtime.ts";
import { findPodId } from "./find.ts";
import type { Unary } from "./handler.ts";

/** Unknown: OK, as the interface demands. */
export const stopPodSandbox =
  (engine: Engine): Unary<StopPodSandboxRequest, StopPodSandboxResponse> =>
  async ({ podSandboxId }, signal) => {
    await engine.stopPod(findPodId(engine, podSandboxId), signal);
    return {};
  };
