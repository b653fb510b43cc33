import type { Engine } from "../engine/engine.ts";
import type { ContainerStatusRequest, ContainerStatusResponse } from "../gen/runtime.ts";
import { containerStatusOf } from "./convert-container.ts";
import { findMachineId } from "./find.ts";
import type { Unary } from "./handler.ts";

export const containerStatus =
  (engine: Engine): Unary<ContainerStatusRequest, ContainerStatusResponse> =>
  ({ containerId, verbose }) => {
    const record = engine.pods.machine(findMachineId(engine, containerId));
    const condition = engine.pods.conditionOf(record.facts.machineId);
    const { domainName, podId, notices } = record.facts;
    return {
      status: containerStatusOf(record, condition),
      info: verbose
        ? { info: JSON.stringify({ sandboxID: podId, domain: domainName, state: record.state, notices, condition }) }
        : {},
    };
  };
