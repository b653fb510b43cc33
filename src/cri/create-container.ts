import type { Engine } from "../engine/engine.ts";
import type { CreateContainerRequest, CreateContainerResponse } from "../gen/runtime.ts";
import { machineSpecOf } from "./convert-container.ts";
import { required } from "./convert-shared.ts";
import { findPodId } from "./find.ts";
import type { Unary } from "./handler.ts";

/** The sandbox config that comes along is the one that RunPodSandbox got; ours is on record. */
export const createContainer =
  (engine: Engine): Unary<CreateContainerRequest, CreateContainerResponse> =>
  async ({ podSandboxId, config }, signal) => {
    const { facts } = engine.pods.pod(findPodId(engine, podSandboxId));
    const spec = machineSpecOf(required(config, "config"), facts.spec);
    return { containerId: await engine.createMachine(facts.podId, spec, signal) };
  };
