import type { MachineId } from "../model/ids.ts";

/** A file system that a guest has mounted, by the guest's own word. */
export interface GuestFilesystem {
  /** One printable line. */
  readonly mountpoint: string;
  readonly type: string;
  readonly usedBytes: number;
  readonly sizeBytes: number;
}

/** What guests say of their file systems. Implemented by `src/guest/`; faked in `test/fakes/small-ports.ts`. */
export interface GuestFilesystems {
  /**
   * Those that have a size; at most 16.
   * @throws AGENT_ABSENT when no agent answers; AGENT_REFUSED when it will not, or answers nonsense.
   */
  of(machineId: MachineId, signal: AbortSignal): Promise<readonly GuestFilesystem[]>;
}
