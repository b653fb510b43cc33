import type { MachineId, PodId } from "../model/ids.ts";
import type { MachineFacts, MachineState } from "../model/machine.ts";
import type { PodFacts, PodState } from "../model/pod.ts";
import type { Resources } from "../model/resources.ts";
import type { FilesystemUsage } from "./image-store.ts";

export interface PodRecord {
  readonly facts: PodFacts;
  readonly state: PodState;
}

export interface MachineRecord {
  readonly facts: MachineFacts;
  readonly state: MachineState;
  /** What holds by now, where it was changed since the machine was asked for. */
  readonly resources?: Resources;
}

/** A record of a pod, or of a machine of it, that could not be read: shown, never fatal. `path` is its folder. */
export interface BrokenRecord {
  readonly podId: PodId;
  readonly path: string;
  readonly error: string;
}

export interface StoredPods {
  readonly pods: readonly PodRecord[];
  /** Those of a broken pod too, so that what they hold can be undone. */
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
  readonly consoleSocketPath: string;
  readonly sshSocketPath: string;
  readonly sshKeyFolderPath: string;
}

/**
 * Records on disk. Implemented by `src/store/`; faked in `test/fakes/pod-store.ts`; both MUST pass
 * `test/contract/pod-store.contract.ts`. A save is durable when it resolves: temp file, fsync, rename, fsync folder.
 * Calls for one pod MUST be made one at a time.
 */
export interface PodStore {
  /** Also removes what a crash left half added or half removed. */
  load(signal: AbortSignal): Promise<StoredPods>;
  /**
   * Facts and first state of a new pod: the intent. After a crash all of it is there or nothing.
   * @throws NAME_TAKEN DISK_FULL SPEC_INVALID
   */
  addPod(record: PodRecord): Promise<void>;
  /** @throws POD_NOT_FOUND DISK_FULL */
  savePodState(podId: PodId, state: PodState): Promise<void>;
  /** With everything in its folder. Not there: no change. */
  removePod(podId: PodId): Promise<void>;
  /** @throws POD_NOT_FOUND NAME_TAKEN DISK_FULL SPEC_INVALID */
  addMachine(record: MachineRecord): Promise<void>;
  /** @throws MACHINE_NOT_FOUND DISK_FULL */
  saveMachineState(podId: PodId, machineId: MachineId, state: MachineState): Promise<void>;
  /** @throws MACHINE_NOT_FOUND DISK_FULL */
  saveMachineResources(podId: PodId, machineId: MachineId, resources: Resources): Promise<void>;
  /** With everything in its folder, and its sockets. Not there: no change. */
  removeMachine(podId: PodId, machineId: MachineId): Promise<void>;
  /** What the machines' own files take: overlays, seeds, console files. */
  usage(): Promise<FilesystemUsage>;
  /** Of the filesystem that those files are on. */
  mountpoint(): Promise<string>;
  pathsOf(podId: PodId, machineId: MachineId): MachinePaths;
}
