// Has a Node process collect its garbage, by its inspector: what is on its heap afterwards is in use.

import { once } from "node:events";
import { readFile } from "node:fs/promises";
import { poll } from "./poll.ts";

/** For the environment of the process: its inspector, once asked for, takes any port that is free. */
export const INSPECTABLE = { NODE_OPTIONS: "--inspect-port=127.0.0.1:0" };

/** @param logPath Where the process's stderr goes: it says there where it can be inspected. */
export async function collectGarbage(pid: number, logPath: string, signal: AbortSignal): Promise<void> {
  process.kill(pid, "SIGUSR1"); // again: no change
  const found = async (): Promise<string | undefined> =>
    [...(await readFile(logPath, "utf8")).matchAll(/^Debugger listening on (ws:\S+)$/gm)].at(-1)?.[1];
  const url = await poll(found, { what: `where ${pid} can be inspected`, limitMs: 60_000 }, signal);
  const socket = new WebSocket(url);
  try {
    await once(socket, "open", { signal });
    const answered = once(socket, "message", { signal });
    socket.send(JSON.stringify({ id: 1, method: "HeapProfiler.collectGarbage" }));
    await answered;
  } finally {
    socket.close();
  }
}
