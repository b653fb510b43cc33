// Network namespaces of pods: made, found and removed by iproute2, pinned as files under /run/netns.

import { rm, statfs } from "node:fs/promises";
import { basename } from "node:path";
import { errorCodeOf } from "../lib/error-code.ts";
import type { Run } from "../lib/spawn.ts";
import { VmletError } from "../model/failure.ts";
import type { PodId } from "../model/ids.ts";
import type { Netns } from "../ports/netns.ts";

/** Where iproute2 looks for names. */
const NETNS_FOLDER = "/run/netns";
/** What statfs says of a pinned namespace; a plain file there was left by a crash between creating and mounting. */
const NSFS_MAGIC = 0x6e736673;

/** Linux network namespaces. Aborting leaves a namespace that the next create completes or the next remove removes. */
export function createNetns({ run }: { readonly run: Run }): Netns {
  const ip = async (args: readonly string[], signal: AbortSignal): Promise<void> => {
    const { exitCode, stderr } = await run("ip", args, {}, signal);
    if (exitCode === 0) return;
    throw new VmletError(
      { code: "TOOL_FAILED", tool: "ip", exitCode },
      `ip ${args.join(" ")}: exit code ${exitCode}: ${stderr.trim().slice(0, 500)}`,
    );
  };

  const self: Netns = {
    pathOf: (podId) => `${NETNS_FOLDER}/${nameOf(podId)}`,

    async create(podId, signal) {
      const path = self.pathOf(podId);
      if (!(await isPinnedNetns(path))) {
        await rm(path, { force: true });
        await ip(["netns", "add", nameOf(podId)], signal);
      }
      await ip(["-n", nameOf(podId), "link", "set", "dev", "lo", "up"], signal);
    },

    async remove(podId, signal) {
      const path = self.pathOf(podId);
      if (await isPinnedNetns(path)) await ip(["netns", "del", basename(path)], signal);
      else await rm(path, { force: true });
    },

    exists: async (podId) => isPinnedNetns(self.pathOf(podId)),
  };
  return self;
}

function nameOf(podId: PodId): string {
  return `vmlet-${podId.slice(0, 12)}`;
}

/** True when the path is a pinned namespace, and not a file that is in the way or nothing at all. */
export async function isPinnedNetns(path: string): Promise<boolean> {
  try {
    return (await statfs(path)).type === NSFS_MAGIC;
  } catch (error) {
    if (errorCodeOf(error) === "ENOENT") return false;
    throw error;
  }
}
