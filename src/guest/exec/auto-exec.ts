// The ways into guests as one: by ssh where the guest serves it, else by its agent, unless the pod wants one of them.

import { VmletError } from "../../model/failure.ts";
import type { GuestExec } from "../../ports/guest-exec.ts";
import { isClosed } from "./ways.ts";

export function autoExec({ ssh, agent }: { readonly ssh: GuestExec; readonly agent: GuestExec }): GuestExec {
  return {
    async run(target, command, streams, signal) {
      if (target.way === "agent") return await agent.run(target, command, streams, signal);
      if (target.way === "ssh") return await ssh.run(target, command, streams, signal);
      try {
        return await ssh.run(target, command, streams, signal);
      } catch (error) {
        if (!isClosed(error)) throw error;
        return await agent.run(target, command, streams, signal).catch((second: unknown) => {
          throw isClosed(second) ? both(error, second) : second;
        });
      }
    },
  };
}

/** Why neither way is one. */
function both(ssh: VmletError, agent: VmletError): VmletError {
  return new VmletError(agent.failure, `${ssh.message}. Nor by its agent: ${agent.message}`, { cause: ssh });
}
