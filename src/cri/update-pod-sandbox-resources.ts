import type { Engine } from "../engine/engine.ts";
import type { UpdatePodSandboxResourcesRequest, UpdatePodSandboxResourcesResponse } from "../gen/runtime.ts";
import { findPodId } from "./find.ts";
import type { Unary } from "./handler.ts";

/** The kubelet changed the pod's cgroup itself, and tells it: a VM that is in it is bound by it already. */
export const updatePodSandboxResources =
  (engine: Engine): Unary<UpdatePodSandboxResourcesRequest, UpdatePodSandboxResourcesResponse> =>
  ({ podSandboxId }) => {
    engine.pods.pod(findPodId(engine, podSandboxId));
    return {};
  };
