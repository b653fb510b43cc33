// The streaming process: composition root of everything that carries bytes between clients and guests. Started, asked and
// outlived by the daemon; ends with it.

import { createAgentExec } from "./guest/exec/agent-exec.ts";
import { autoExec } from "./guest/exec/auto-exec.ts";
import { captureWith } from "./guest/exec/capture.ts";
import { SshExec } from "./guest/exec/ssh-exec.ts";
import { ConsoleInputs } from "./streaming/console-input.ts";
import { Peer, type Transport } from "./streaming/ipc.ts";
import type { DaemonCalls, StartOptions, StreamingCalls } from "./streaming/protocol.ts";
import { listen } from "./streaming/server.ts";
import { sessionCalls } from "./streaming/sessions.ts";
import { createLogger } from "./telemetry/log.ts";

if (process.send === undefined) {
  process.stderr.write("vmlet: the streaming process is started by `vmlet serve`\n");
  process.exit(2);
}
process.title = "vmlet streaming";
process.on("disconnect", () => process.exit(0)); // the daemon is gone, whichever way
process.on("SIGINT", () => {}); // a terminal's, and meant for the daemon

type Sessions = Omit<StreamingCalls, "start">;
const started = Promise.withResolvers<Sessions>();
const peer: Peer<DaemonCalls> = new Peer(process as Transport, {
  start,
  exec: async (stream, signal) => (await started.promise).exec(stream, signal),
  capture: async (request, signal) => (await started.promise).capture(request, signal),
  attach: async (stream, signal) => (await started.promise).attach(stream, signal),
  portForward: async (stream, signal) => (await started.promise).portForward(stream, signal),
} satisfies StreamingCalls);

async function start(options: StartOptions): Promise<void> {
  const log = createLogger({ level: options.logLevel }).child("streaming");
  // What one session did may have left any other in doubt: the daemon starts a fresh process.
  for (const event of ["uncaughtException", "unhandledRejection"] as const) {
    process.on(event, (error: unknown) => {
      log.error("streaming process failed", { error });
      process.exit(1);
    });
  }
  const daemon: DaemonCalls = {
    untilEnded: async (subject, signal) => peer.ask("untilEnded", subject, signal),
    askAgent: async (request, signal) => peer.ask("askAgent", request, signal),
  };
  const agent = createAgentExec(async (machineId, command, signal) => daemon.askAgent({ machineId, command }, signal));
  const guestExec = autoExec({ ssh: new SshExec(), agent });
  const capture = captureWith(guestExec);
  const server = await listen(options, log);
  started.resolve({
    ...sessionCalls({ server, guestExec, consoleInputs: new ConsoleInputs(), daemon, options, log }),
    capture: async ({ target, command }, signal) => await capture(target, command, signal),
  });
}
