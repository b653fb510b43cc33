// Ids as people type them: the whole, or enough of its beginning.

import type { Engine } from "../engine/engine.ts";
import type { MachineId, PodId } from "../model/ids.ts";
import { wholeId } from "./convert-shared.ts";

/** What is not known is returned as it came: the use case says what becomes of an unknown id. */
export function findPodId({ pods }: Pick<Engine, "pods">, typed: string): PodId {
  const known = [...pods.pods().map(({ facts }) => facts.podId), ...pods.broken().map(({ podId }) => podId)];
  return wholeId(typed, known) as PodId;
}

export function findMachineId({ pods }: Pick<Engine, "pods">, typed: string): MachineId {
  return wholeId(
    typed,
    pods.machines().map(({ facts }) => facts.machineId),
  ) as MachineId;
}
