// A machine: what the kubelet calls a container, what libvirt calls a domain, what a person calls a VM.

import { VmletError } from "./failure.ts";
import type { ImageDigest, MachineId, PodId } from "./ids.ts";
import type { Resources } from "./resources.ts";

export interface EnvVar {
  readonly name: string;
  /** Base64: a value need not be text. */
  readonly valueBase64: string;
}

export interface Mount {
  readonly containerPath: string;
  readonly hostPath: string;
  readonly isReadOnly: boolean;
}

/** What the pod's command reads from whoever attaches. */
export interface WorkloadInput {
  readonly isTty: boolean;
  /** It ends with the input of the first who attaches. */
  readonly isOnce: boolean;
}

/** Whom commands run as in the guest, by its own /etc/passwd and /etc/group. */
export interface RunAs {
  /** A name, or a number as the guest may not have a name for. */
  readonly user: string;
  /** Absent: the user's own. */
  readonly gid?: number;
  /** Beside those that the guest has for the user. */
  readonly groups: readonly number[];
}

/** What was asked for. `command` and `args` are empty when the VM itself is the workload. */
export interface MachineSpec {
  readonly name: string;
  readonly attempt: number;
  /** As the kubelet spelled it in this call: a name or a digest. */
  readonly image: string;
  /** As the pod's author spelled it. */
  readonly userImage: string;
  readonly command: readonly string[];
  readonly args: readonly string[];
  readonly workingDir: string;
  /** Absent: the command's input is empty. */
  readonly input?: WorkloadInput;
  /** Absent: root. */
  readonly runAs?: RunAs;
  readonly env: readonly EnvVar[];
  readonly mounts: readonly Mount[];
  readonly labels: Readonly<Record<string, string>>;
  readonly annotations: Readonly<Record<string, string>>;
  /** Absolute, inside the pod's log folder; empty when no log is kept. */
  readonly logPath: string;
  readonly resources: Resources;
  /** CRI enum value, echoed. */
  readonly stopSignal: number;
}

/** Written once, before the first side effect. */
export interface MachineFacts {
  readonly machineId: MachineId;
  readonly podId: PodId;
  readonly spec: MachineSpec;
  readonly imageDigest: ImageDigest;
  readonly createdAtMs: number;
  /** libvirt's name for it. */
  readonly domainName: string;
  /** What the pod asked for that this version does not give; shown in ContainerStatus.info. */
  readonly notices: readonly string[];
}

export type ExitReason = "Completed" | "Error" | "OOMKilled";

export interface Exit {
  readonly finishedAtMs: number;
  /** 0 clean, 137 destroyed, 143 a command cut short, 255 crash or panic, otherwise the workload's own. */
  readonly exitCode: number;
  readonly reason: ExitReason;
  /** For people; empty when there is nothing to say. */
  readonly message: string;
}

/**
 *   intended ──created──> created ──start-asked──> starting ──started──> running ──stop-asked──> stopping
 *      │                     │                        │                     │                        │
 *      └──────────────────── exited (by any end, from any state, once) ─────┴────────────────────────┘
 *
 * `exited` is final. `starting` is saved before the domain is created, so that a crash in between leaves a record.
 */
export type MachineState =
  | { readonly at: "intended" }
  | { readonly at: "created" }
  | { readonly at: "starting" }
  | { readonly at: "running"; readonly startedAtMs: number }
  | { readonly at: "stopping"; readonly startedAtMs: number; readonly killAtMs: number }
  | { readonly at: "exited"; readonly startedAtMs?: number; readonly exit: Exit };

export type MachineEvent =
  | { readonly type: "created" }
  | { readonly type: "start-asked" }
  | { readonly type: "start-undone" }
  | { readonly type: "started"; readonly nowMs: number }
  | { readonly type: "stop-asked"; readonly killAtMs: number }
  | { readonly type: "ended"; readonly exit: Exit };

/** The next state; throws WRONG_STATE for what cannot happen. Idempotent events return the state they got. */
export function nextMachineState(state: MachineState, event: MachineEvent): MachineState {
  switch (event.type) {
    case "created":
      if (state.at !== "intended") throw forbids(event, state);
      return { at: "created" };
    case "start-asked":
      if (state.at !== "created") throw forbids(event, state);
      return { at: "starting" };
    case "start-undone":
      if (state.at !== "starting") throw forbids(event, state);
      return { at: "created" };
    case "started":
      if (state.at !== "starting") throw forbids(event, state);
      return { at: "running", startedAtMs: event.nowMs };
    case "stop-asked":
      if (state.at === "exited") return state;
      if (state.at === "stopping") return { ...state, killAtMs: Math.min(state.killAtMs, event.killAtMs) };
      if (state.at !== "running") throw forbids(event, state);
      return { at: "stopping", startedAtMs: state.startedAtMs, killAtMs: event.killAtMs };
    case "ended":
      if (state.at === "exited") return state;
      return "startedAtMs" in state
        ? { at: "exited", startedAtMs: state.startedAtMs, exit: event.exit }
        : { at: "exited", exit: event.exit };
  }
}

function forbids(event: MachineEvent, state: MachineState): VmletError {
  return new VmletError(
    { code: "WRONG_STATE", subject: "container", state: state.at },
    `container is ${state.at}: ${event.type} is not possible`,
  );
}
