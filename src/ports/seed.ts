import type { Attachment } from "../model/attachment.ts";
import type { MachineId } from "../model/ids.ts";
import type { EnvVar, RunAs, WorkloadInput } from "../model/machine.ts";
import type { DnsConfig } from "../model/pod.ts";

/** A file that the guest gets by the seed. */
export interface SeedFile {
  readonly guestPath: string;
  readonly content: Uint8Array;
  readonly mode: number;
}

export interface SeedRequest {
  readonly seedPath: string;
  readonly machineId: MachineId;
  readonly hostname: string;
  readonly attachment: Attachment;
  readonly dns: DnsConfig;
  /** By path below /proc/sys. */
  readonly sysctls: Readonly<Record<string, string>>;
  /** `vmlet.dev/user-data`, verbatim; empty: none. */
  readonly userData: string;
  /** `vmlet.dev/ssh-keys`, one key each. */
  readonly sshKeys: readonly string[];
  readonly env: readonly EnvVar[];
  /** Command and arguments that are the workload; empty: the VM itself is. */
  readonly argv: readonly string[];
  readonly workingDir: string;
  /** Whom the workload runs as; absent: root. */
  readonly runAs?: RunAs;
  /** What the workload reads; absent: nothing. */
  readonly input?: WorkloadInput;
  readonly files: readonly SeedFile[];
  /** How we get in by ssh; absent: the guest is not asked to let us in. */
  readonly ssh?: {
    /** Keys that are missing there are made. */
    readonly keyFolderPath: string;
    readonly user: string;
  };
}

/** What the guest is told at its first boot. Implemented by `src/guest/` as a NoCloud image. */
export interface Seed {
  /** A half-made file at `seedPath` is replaced. @throws SPEC_INVALID naming the annotation; TOOL_FAILED DISK_FULL */
  build(request: SeedRequest, signal: AbortSignal): Promise<void>;
  /** The exit code that the guest reported for its workload; undefined when it said none. Never throws. */
  readInitReport(initReportPath: string): Promise<number | undefined>;
}
