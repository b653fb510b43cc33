import type { Engine } from "../engine/engine.ts";
import type { RemovePodSandboxRequest, RemovePodSandboxResponse } from "../gen/runtime.ts";
import { findPodId } from "./find.ts";
import type { Unary } from "./handler.ts";

/** Unknown: OK, as the interface demands. Machines that still run are powered off first. */
export const removePodSandbox =
  (engine: Engine): Unary<RemovePodSandboxRequest, RemovePodSandboxResponse> =>
  async ({ podSandboxId }, signal) => {
    await engine.removePod(findPodId(engine, podSandboxId), signal);
    return {};
  };
