// A unix socket's path made free: a dead process's socket goes, a living one's stays.

import { lstat, mkdir, rm } from "node:fs/promises";
import { createConnection } from "node:net";
import { dirname } from "node:path";

/** @returns why the path cannot be had, for people; undefined: it can. */
export async function freeSocketPath(socketPath: string): Promise<string | undefined> {
  await mkdir(dirname(socketPath), { recursive: true, mode: 0o755 });
  const found = await lstat(socketPath).catch(() => undefined);
  if (!found) return undefined;
  if (!found.isSocket()) return "is there and is no socket; remove it or choose another path";
  if (await answers(socketPath)) return "is served by another process; stop that one first";
  await rm(socketPath, { force: true });
  return undefined;
}

async function answers(socketPath: string): Promise<boolean> {
  const { promise, resolve } = Promise.withResolvers<boolean>();
  const socket = createConnection(socketPath);
  socket.on("connect", () => resolve(true)).on("error", () => resolve(false));
  const answer = await promise;
  socket.destroy();
  return answer;
}
