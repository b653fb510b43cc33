// Commands by the guest's agent: no input, no terminal, and of each output no more than 16 MiB.
//
// libvirt takes no answer above 4 MiB, so a large output goes to a file in the guest that is read piece by piece, while
// the command runs and after it. Nothing of it stays in the guest.

import { randomBytes } from "node:crypto";
import { backoff, poll, sleepMs } from "../../lib/backoff.ts";
import { undoSignal } from "../../lib/undo.ts";
import type { GuestExec, GuestStreams } from "../../ports/guest-exec.ts";
import { withoutNul } from "../shell.ts";
import { Agent, type AskAgent } from "./agent.ts";
import { AgentFile } from "./agent-file.ts";
import { AGENT_KILL_SCRIPT, AGENT_RUN_SCRIPT, INLINE_BYTES } from "./agent-scripts.ts";
import { limited } from "./command.ts";
import { Sink } from "./sink.ts";
import { isClosed, needsSsh, refusedByAgent } from "./ways.ts";

/** Where it keeps its files in the guest; made when it is not there. */
const FOLDER_PATH = "/run/vmlet";
/** The kubelet's own cap for ExecSync. */
const OUTPUT_CAP_BYTES = 16 << 20;
/** A command that lasts longer than this shows what it prints while it runs. */
const LIVE_AFTER_MS = 1_000;
const POLLS = { firstMs: 15, maxMs: 500, jitter: 0 };
const CLEAN_UP_LIMIT_MS = 10_000;

export function createAgentExec(ask: AskAgent, folderPath = FOLDER_PATH): GuestExec {
  return {
    async run(target, command, streams, asked) {
      if (needsSsh(command, streams)) throw refusedByAgent(target);
      const agent = new Agent(ask, target);
      const at = `${folderPath}/exec-${randomBytes(16).toString("hex")}`;
      const { user, workingDir = "/" } = target;
      const words = command.argv.map((word, index) => withoutNul(`cmd[${index}]`, word));
      const args = [at, String(OUTPUT_CAP_BYTES), user, workingDir, ...words];
      let pid: number | undefined;
      try {
        pid = await agent.start(AGENT_RUN_SCRIPT, args, asked);
        return await follow(agent, pid, at, streams, limited(asked, command.limitMs));
      } catch (error) {
        if (isClosed(error)) throw error; // it was not started
        await cleanUp(agent, AGENT_KILL_SCRIPT, at, pid);
        throw error;
      }
    },
  };
}

/** Resolves to the exit code when the outputs have taken everything, with nothing left in the guest. */
async function follow(
  agent: Agent,
  pid: number,
  at: string,
  { stdout, stderr }: GuestStreams,
  signal: AbortSignal,
): Promise<number> {
  const maxBytes = OUTPUT_CAP_BYTES;
  await using out = new AgentFile(agent, `${at}/out`, { sink: new Sink(stdout), maxBytes });
  await using err = new AgentFile(agent, `${at}/err`, { sink: new Sink(stderr), maxBytes });
  const startedAtMs = performance.now();
  for (const pauseMs of backoff(POLLS)) {
    const status = await agent.status(pid, signal);
    if (status.isOver) {
      const isWhole = [status.out, status.err].every(({ length }) => length < INLINE_BYTES);
      await Promise.all(isWhole ? [out.finish(status.out, signal), err.finish(status.err, signal)] : []);
      if (!isWhole) {
        await out.copy(signal);
        await err.copy(signal);
        await cleanUp(agent, 'rm -rf "$1"', at);
      }
      await Promise.all([out.sink.end(signal), err.sink.end(signal)]);
      return status.exitCode;
    }
    if (performance.now() - startedAtMs > LIVE_AFTER_MS) {
      await out.copy(signal);
      await err.copy(signal);
    }
    await sleepMs(pauseMs, signal);
  }
  throw new Error("unreachable: backoff never ends");
}

/** Never throws: a guest that has gone has nothing left. */
async function cleanUp(agent: Agent, script: string, at: string, alsoEnds?: number): Promise<void> {
  const signal = undoSignal(CLEAN_UP_LIMIT_MS);
  try {
    const pid = await agent.start(script, [at], signal);
    for (const each of alsoEnds === undefined ? [pid] : [pid, alsoEnds]) {
      await poll(async () => ((await agent.status(each, signal)).isOver ? true : undefined), POLLS, signal);
    }
  } catch {
    // The guest, its agent or libvirt does not answer any more.
  }
}
