import type { MachineId, PodId } from "../model/ids.ts";
import type { GuestTarget } from "./guest-exec.ts";

/** What a client of exec or attach will open. */
export interface StreamsWanted {
  readonly stdin: boolean;
  readonly stdout: boolean;
  readonly stderr: boolean;
  readonly tty: boolean;
}

export interface ExecStream {
  readonly target: GuestTarget;
  readonly argv: readonly string[];
  readonly wanted: StreamsWanted;
}

export interface AttachStream {
  readonly machineId: MachineId;
  /** What QEMU appends to. */
  readonly consoleFilePath: string;
  /** What is written to it, the guest reads as typed. */
  readonly consoleSocketPath: string;
  /** The console belongs to a command that reads pipes, as a container's would. */
  readonly pipes?: { readonly isOnce: boolean };
  readonly wanted: StreamsWanted;
}

export interface ForwardStream {
  readonly podId: PodId;
  /** The pod's, tried one after the other. */
  readonly addresses: readonly string[];
  /** For clients that cannot name theirs: those of the WebSocket protocol. */
  readonly ports: readonly number[];
}

/**
 * Long-lived byte streams between a client and a guest. Implemented by `src/streaming/` in a process of its own.
 *
 * Each call resolves to a URL at which one client may open the stream, once, within a minute.
 * @throws STREAMING_GONE when that process is not there; STREAMING_BUSY when too many URLs wait for their client
 */
export interface Streaming {
  exec(stream: ExecStream, signal: AbortSignal): Promise<string>;
  attach(stream: AttachStream, signal: AbortSignal): Promise<string>;
  portForward(stream: ForwardStream, signal: AbortSignal): Promise<string>;
}
