import type { Engine } from "../engine/engine.ts";
import type { PodSandboxStatusRequest, PodSandboxStatusResponse } from "../gen/runtime.ts";
import { containerStatusesOf, isListed } from "./convert-container.ts";
import { brokenPodSandboxOf, podSandboxStatusOf } from "./convert-pod.ts";
import { nanosOf } from "./convert-shared.ts";
import { findPodId } from "./find.ts";
import type { Unary } from "./handler.ts";

export const podSandboxStatus =
  (engine: Engine): Unary<PodSandboxStatusRequest, PodSandboxStatusResponse> =>
  ({ podSandboxId, verbose }) => {
    const { pods, clock } = engine;
    const podId = findPodId(engine, podSandboxId);
    const timestamp = nanosOf(clock.nowMs());
    const broken = pods.findBroken(podId);
    if (broken && !pods.findPod(podId)) {
      const status = { ...brokenPodSandboxOf(broken), network: undefined, linux: undefined };
      return { status, info: { error: broken.error }, containersStatuses: [], timestamp };
    }
    const record = pods.pod(podId);
    const machines = pods.machinesOf(podId).filter(isListed);
    return {
      status: podSandboxStatusOf(record, broken),
      info: verbose
        ? { ...(broken && { error: broken.error }), info: JSON.stringify({ ...record.facts, state: record.state }) }
        : {},
      containersStatuses: containerStatusesOf(
        machines.map((machine) => ({ machine, condition: pods.conditionOf(machine.facts.machineId) })),
      ),
      timestamp,
    };
  };
