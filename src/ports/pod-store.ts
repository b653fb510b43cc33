import type { MachineId, PodId } from "../model/ids.ts";
import type { MachineFacts, MachineState } from "../model/machine.ts";
import type { PodFacts, PodState } from "../model/pod.ts";

export interface PodRecord {
  readonly facts: PodFacts;
  readonly state: PodState;
}

export interface MachineRecord {
  readonly facts: MachineFacts;
  readonly state: MachineState;
}

/** A record that could not be read: shown, never fatal. */
export interface BrokenRecord {
  readonly podId: PodId;
  readonly path: string;
  readonly error: string;
}

export interface StoredPods {
  readonly pods: readonly PodRecord[];
  readonly machines: readonly MachineRecord[];
  readonly broken: readonly BrokenRecord[];
}

/** Where a machine's files are. A pure function of the ids. */
export interface MachinePaths {
  readonly folderPath: string;
  readonly overlayPath: string;
  readonly seedPath: string;
  readonly consoleFilePath: string;
  readonly consolePositionPath: string;
  readonly initReportPath: string;
  readonly vncSocketPath: string;
}

/**
 * Records on disk. Implemented by `src/store/`; faked in `test/fakes/pod-store.ts`. A save is durable when it resolves:
 * temp file, fsync, rename, fsync folder.
 */
export interface PodStore {
  load(signal: AbortSignal): Promise<StoredPods>;
  /** Facts and first state of a new pod: the intent. */
  addPod(record: PodRecord): Promise<void>;
  savePodState(podId: PodId, state: PodState): Promise<void>;
  /** With everything in its folder. Not there: no change. */
  removePod(podId: PodId): Promise<void>;
  addMachine(record: MachineRecord): Promise<void>;
  saveMachineState(podId: PodId, machineId: MachineId, state: MachineState): Promise<void>;
  removeMachine(podId: PodId, machineId: MachineId): Promise<void>;
  pathsOf(podId: PodId, machineId: MachineId): MachinePaths;
}
