import type { Readable, Writable } from "node:stream";
import type { MachineId } from "../model/ids.ts";

/** How to get into one guest. Plain data: it crosses from the daemon to the streaming process. */
export interface GuestTarget {
  readonly machineId: MachineId;
  /** `auto`: by ssh where the guest serves it, else by its agent. */
  readonly way: "auto" | "ssh" | "agent";
  /** The guest's user whose command it is. */
  readonly user: string;
  /** The folder where commands start; `/` when absent. */
  readonly workingDir?: string;
  /** Until then (Unix time) a guest without a way in is taken for booting, and commands wait. Absent: none does. */
  readonly bootsUntilMs?: number;
  /** Absent: the machine has no port for it. */
  readonly ssh?: { readonly socketPath: string; readonly keyFolderPath: string };
}

export interface TerminalSize {
  readonly columns: number;
  readonly rows: number;
}

/** Of one client's terminal, as it tells them. */
export interface TerminalSizes {
  /** Undefined before the first. */
  readonly latest: TerminalSize | undefined;
  /** From now on called with each newer one, in place of whoever was called before. */
  listen(listener: (size: TerminalSize) => void): void;
}

export interface GuestCommand {
  /** At least one. Not a shell's: each item arrives as it is. */
  readonly argv: readonly string[];
  readonly isTty: boolean;
  /** Absent: it takes what it takes. Begins when the command does: a guest may have to boot first. */
  readonly limitMs?: number;
}

/** What is absent is not wanted: input is then empty and output thrown away. A terminal has no stderr of its own. */
export interface GuestStreams {
  readonly stdin?: Readable;
  readonly stdout?: Writable;
  readonly stderr?: Writable;
  readonly sizes?: TerminalSizes;
}

/**
 * Commands inside a guest. Implemented by `src/guest/`; faked in `test/fakes/guest-exec.ts`; both MUST pass
 * `test/contract/guest-exec.contract.ts`.
 */
export interface GuestExec {
  /**
   * Runs one command to its end and resolves to its exit code when all its output was taken. The code is as a shell's
   * `$?`: 127 not found, 128 + n killed by signal n.
   * `stdout` and `stderr` are ended then and not before; `stdin` may be left unread. Back-pressure reaches the command.
   * A stream that breaks means that its reader went away: as a closed pipe to the command, no failure.
   * @param signal Aborting kills the command in the guest and rejects with the signal's reason; so does its limit, with a
   *   `TimeoutError`.
   * @throws WRONG_STATE when the guest has no way in, saying what to install; MACHINE_NOT_FOUND
   */
  run(target: GuestTarget, command: GuestCommand, streams: GuestStreams, signal: AbortSignal): Promise<number>;
}

export interface GuestOutput {
  readonly exitCode: number;
  readonly stdout: Uint8Array;
  readonly stderr: Uint8Array;
}

/** What the engine itself runs in guests. */
export interface Guests {
  /** As `run` of a GuestExec, with the output kept as far as a CRI answer has room. */
  capture(target: GuestTarget, command: Omit<GuestCommand, "isTty">, signal: AbortSignal): Promise<GuestOutput>;
}
