// The ways into guests as one: by ssh where the guest serves it, else by its agent, unless the pod wants one of them. While
// a guest boots, commands wait for the first way that opens.

import { poll } from "../../lib/backoff.ts";
import { VmletError } from "../../model/failure.ts";
import type { GuestCommand, GuestExec, GuestStreams, GuestTarget } from "../../ports/guest-exec.ts";
import { isClosed, needsSsh } from "./ways.ts";

export interface Ways {
  readonly ssh: GuestExec;
  readonly agent: GuestExec;
}

const TRIES = { firstMs: 200, maxMs: 1_000 };

export function autoExec(ways: Ways): GuestExec {
  return {
    async run(target, command, streams, signal) {
      const tryOnce = async (): Promise<number | undefined> => {
        try {
          return await runOnce(ways, target, command, streams, signal);
        } catch (error) {
          if (!isClosed(error) || Date.now() >= (target.bootsUntilMs ?? 0)) throw error;
          return undefined;
        }
      };
      return await poll(tryOnce, TRIES, signal);
    },
  };
}

/** @throws what `isClosed` only when the command was not started */
async function runOnce(
  { ssh, agent }: Ways,
  target: GuestTarget,
  command: GuestCommand,
  streams: GuestStreams,
  signal: AbortSignal,
): Promise<number> {
  if (target.way === "agent") return await agent.run(target, command, streams, signal);
  if (target.way === "ssh" || needsSsh(command, streams)) return await ssh.run(target, command, streams, signal);
  try {
    return await ssh.run(target, command, streams, signal);
  } catch (error) {
    if (!isClosed(error)) throw error;
    return await agent.run(target, command, streams, signal).catch((second: unknown) => {
      throw isClosed(second) ? both(error, second) : second;
    });
  }
}

/** Why neither way is one. */
function both(ssh: VmletError, agent: VmletError): VmletError {
  return new VmletError(agent.failure, `${ssh.message}. Nor by its agent: ${agent.message}`, { cause: ssh });
}
