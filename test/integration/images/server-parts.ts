// What a real server needs to run in a test: a port, and its tools.

import { once } from "node:events";
import { createServer } from "node:net";
import { run } from "../../../src/lib/spawn.ts";

/** Of loopback. Nobody else takes it in the moment between. */
export async function freePort(): Promise<number> {
  const server = createServer().listen(0, "127.0.0.1");
  await once(server, "listening");
  const address = server.address();
  server.close();
  await once(server, "close");
  if (address === null || typeof address === "string") throw new Error("unreachable: a TCP server has a port");
  return address.port;
}

/** What it printed. @throws when it fails, with what it said. */
export async function tool(file: string, args: readonly string[], signal: AbortSignal): Promise<string> {
  const { exitCode, stdout, stderr } = await run(file, args, {}, signal);
  if (exitCode !== 0) throw new Error(`${file}: ${stderr}`);
  return stdout.toString();
}
