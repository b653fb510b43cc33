import type { MachineId } from "../model/ids.ts";

export interface ConsoleLogRequest {
  readonly machineId: MachineId;
  /** What QEMU appends to. */
  readonly consoleFilePath: string;
  /** Where the tail's own position is kept, so that a restart neither loses nor repeats. */
  readonly positionPath: string;
  /** What the guest's init writes to: a line at most, kept from growing beyond that. */
  readonly initReportPath: string;
  /** CRI log file; empty: drain only. */
  readonly logPath: string;
  /** The pod's own, in which the log lies: from there on no link is followed. */
  readonly logFolderPath: string;
}

/** Turns what QEMU wrote into the CRI log. Implemented by `src/console/`. Guests never wait for it. */
export interface ConsoleLogs {
  /** Go on where the last tail of this machine stopped. Followed already: no change. */
  follow(request: ConsoleLogRequest, signal: AbortSignal): Promise<void>;
  /** Write what is there, flush the last partial line, and stop following. Not followed: no change. */
  finish(machineId: MachineId, signal: AbortSignal): Promise<void>;
  /** After rotation: open the log path anew. On failure the old file stays in use. @throws MACHINE_NOT_FOUND */
  reopen(machineId: MachineId, signal: AbortSignal): Promise<void>;
}
