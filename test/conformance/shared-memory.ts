// What a spec of critest makes on the machine and leaves there: segments of System V shared memory.

import { readFile } from "node:fs/promises";
import { output } from "../node/command.ts";

/** On disposal removes the segments that were not there before. */
export async function watchSharedMemory(): Promise<AsyncDisposable> {
  const before = new Set(await segments());
  return {
    async [Symbol.asyncDispose]() {
      for (const id of await segments()) {
        if (!before.has(id)) await output(["/usr/bin/ipcrm", "-m", id], AbortSignal.timeout(5_000));
      }
    },
  };
}

/** Ids of those of one MiB that nobody has attached, critest's kind. */
async function segments(): Promise<readonly string[]> {
  const rows = (await readFile("/proc/sysvipc/shm", "utf8").catch(() => "")).split("\n").slice(1);
  return rows.flatMap((row) => {
    const [, id = "", , size, , , attached] = row.trim().split(/\s+/);
    return size === "1048576" && attached === "0" ? [id] : [];
  });
}
