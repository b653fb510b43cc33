// A streaming server with all its sessions, on loopback, in front of fakes.

import { EventEmitter, once } from "node:events";
import type { MachineId, PodId } from "../../../src/model/ids.ts";
import type { ForwardStream, StreamsWanted } from "../../../src/ports/streaming.ts";
import { ConsoleInputs } from "../../../src/streaming/console-input.ts";
import type { DaemonCalls } from "../../../src/streaming/protocol.ts";
import { type ListenOptions, listen } from "../../../src/streaming/server.ts";
import { sessionCalls } from "../../../src/streaming/sessions.ts";
import { FakeGuestExec } from "../../fakes/guest-exec.ts";
import { silentLog } from "../../fakes/small-ports.ts";

export const MACHINE_ID = "a".repeat(64) as MachineId;
export const POD_ID = "b".repeat(64) as PodId;

export interface Site extends AsyncDisposable {
  readonly guestExec: FakeGuestExec;
  execUrl(argv: readonly string[], wanted: Partial<StreamsWanted>): Promise<string>;
  attachUrl(paths: { filePath: string; socketPath: string }, wanted: Partial<StreamsWanted>): Promise<string>;
  forwardUrl(stream?: Partial<ForwardStream>): Promise<string>;
  /** The machine exits, the pod stops. */
  end(): void;
}

export const nothingWanted: StreamsWanted = { stdin: false, stdout: false, stderr: false, tty: false };
const never = new AbortController().signal;

export async function startSite(options: Partial<ListenOptions> = {}): Promise<Site> {
  const all = { host: "127.0.0.1", port: 0, idleMs: 60_000, creationMs: 10_000, ...options };
  const guestExec = new FakeGuestExec();
  const ends = new EventEmitter().setMaxListeners(0);
  const daemon: DaemonCalls = {
    askAgent: async () => ({}),
    untilEnded: async (_subject, signal) => void (await once(ends, "end", { signal })),
  };
  const server = await listen(all, silentLog);
  const calls = sessionCalls({
    server,
    guestExec,
    consoleInputs: new ConsoleInputs(),
    daemon,
    options: all,
    log: silentLog,
  });
  const target = { machineId: MACHINE_ID, way: "auto", user: "root" } as const;
  return {
    guestExec,
    execUrl: (argv, wanted) => calls.exec({ target, argv, wanted: { ...nothingWanted, ...wanted } }, never),
    attachUrl: ({ filePath: consoleFilePath, socketPath: consoleSocketPath }, wanted) =>
      calls.attach(
        { machineId: MACHINE_ID, consoleFilePath, consoleSocketPath, wanted: { ...nothingWanted, ...wanted } },
        never,
      ),
    forwardUrl: (stream = {}) =>
      calls.portForward({ podId: POD_ID, addresses: ["127.0.0.1"], ports: [], ...stream }, never),
    end: () => void ends.emit("end"),
    [Symbol.asyncDispose]: () => server[Symbol.asyncDispose](),
  };
}
