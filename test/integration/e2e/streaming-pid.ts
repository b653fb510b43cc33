// The process that carries streams, found from outside: the daemon's child that is not a tool.

import { readFile } from "node:fs/promises";
import type { TestNode } from "../../node/test-node.ts";

export async function streamingPid(node: TestNode): Promise<number> {
  const daemonPid = await node.daemonPid();
  const children = await readFile(`/proc/${daemonPid}/task/${daemonPid}/children`, "utf8");
  for (const pid of children.trim().split(" ")) {
    const commandLine = await readFile(`/proc/${pid}/cmdline`, "utf8").catch(() => "");
    if (/streaming/.test(commandLine)) return Number(pid);
  }
  throw new Error("no streaming process");
}
