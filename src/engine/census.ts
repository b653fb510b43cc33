// How many pods and machines there are in each state.

import type { MachineState } from "../model/machine.ts";
import type { PodState } from "../model/pod.ts";
import type { Pods } from "./pods.ts";

export interface Census {
  /** `unreadable`: its record cannot be read. */
  readonly pods: Readonly<Record<PodState["at"] | "unreadable", number>>;
  readonly machines: Readonly<Record<MachineState["at"], number>>;
}

export function takeCensus(pods: Pods): Census {
  const census = {
    pods: { intended: 0, ready: 0, stopping: 0, stopped: 0, unreadable: pods.broken().length },
    machines: { intended: 0, created: 0, starting: 0, running: 0, stopping: 0, exited: 0 },
  } satisfies Census;
  for (const { state } of pods.pods()) census.pods[state.at]++;
  for (const { state } of pods.machines()) census.machines[state.at]++;
  return census;
}
