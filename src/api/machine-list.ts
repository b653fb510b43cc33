import type { Unary } from "../cri/handler.ts";
import type { Engine } from "../engine/engine.ts";
import type { ListMachinesRequest, ListMachinesResponse } from "../gen/vmlet.ts";
import { machineOf } from "./convert.ts";

export const listMachines =
  ({ pods }: Engine): Unary<ListMachinesRequest, ListMachinesResponse> =>
  () => ({
    machines: pods.machines().map((machine) => {
      const { podId, machineId } = machine.facts;
      return machineOf(machine, pods.findPod(podId), pods.conditionOf(machineId));
    }),
  });
