import type { Engine } from "../engine/engine.ts";
import type { RunPodSandboxRequest, RunPodSandboxResponse } from "../gen/runtime.ts";
import { podSpecOf } from "./convert-pod.ts";
import { required } from "./convert-shared.ts";
import type { Unary } from "./handler.ts";

export const runPodSandbox =
  (engine: Engine, handlers: readonly string[]): Unary<RunPodSandboxRequest, RunPodSandboxResponse> =>
  async ({ config, runtimeHandler }, signal) => {
    const spec = podSpecOf(required(config, "config"), runtimeHandler, handlers);
    return { podSandboxId: await engine.runPod(spec, signal) };
  };
