// What the daemon and its streaming process ask of each other. Both are of one version: these are types and no checks.

import type { MachineId, PodId } from "../model/ids.ts";
import type { GuestCommand, GuestOutput, GuestTarget } from "../ports/guest-exec.ts";
import type { AgentCommand } from "../ports/hypervisor.ts";
import type { AttachStream, ExecStream, ForwardStream } from "../ports/streaming.ts";
import type { ListenOptions } from "./server.ts";

export interface StartOptions extends ListenOptions {
  readonly logLevel: "error" | "warn" | "info" | "debug";
}

export type StreamingCalls = {
  /** MUST be the first. Resolves when it listens. */
  readonly start: (options: StartOptions, signal: AbortSignal) => Promise<void>;
  /** These answer with a URL. */
  readonly exec: (stream: ExecStream, signal: AbortSignal) => Promise<string>;
  readonly attach: (stream: AttachStream, signal: AbortSignal) => Promise<string>;
  readonly portForward: (stream: ForwardStream, signal: AbortSignal) => Promise<string>;
  readonly capture: (
    request: { readonly target: GuestTarget; readonly command: Omit<GuestCommand, "isTty"> },
    signal: AbortSignal,
  ) => Promise<GuestOutput>;
};

export type DaemonCalls = {
  /** As of the Hypervisor: libvirt is the daemon's. */
  readonly askAgent: (
    request: { readonly machineId: MachineId; readonly command: AgentCommand },
    signal: AbortSignal,
  ) => Promise<unknown>;
  /** Resolves when that machine has exited or is gone, or that pod stops or is gone. */
  readonly untilEnded: (
    subject: { readonly machineId: MachineId } | { readonly podId: PodId },
    signal: AbortSignal,
  ) => Promise<void>;
};
