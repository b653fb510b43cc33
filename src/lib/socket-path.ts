// A unix socket that only we may connect to, at a path that a dead process may have left a socket at.

import { chmod, lstat, mkdir, rm } from "node:fs/promises";
import { createConnection } from "node:net";
import { dirname } from "node:path";

export interface WantedSocket {
  readonly socketPath: string;
  /** The setting that says so, for messages. */
  readonly field: string;
}

/** Why a path cannot be had, for people. */
export class SocketPathTaken extends Error {
  override readonly name = "SocketPathTaken";
}

/**
 * Makes the path free (a dead process's socket goes, a living one's stays) and lets `bind` listen there: mode 0600 from
 * its first moment on.
 * @throws SocketPathTaken, or what `bind` throws.
 */
export async function listenAlone({ socketPath, field }: WantedSocket, bind: () => Promise<void>): Promise<void> {
  await makeFree({ socketPath, field });
  const umask = process.umask(0o177);
  try {
    await bind();
  } finally {
    process.umask(umask);
  }
  await chmod(socketPath, 0o600);
}

/** Whether somebody listens there. */
export async function isServed(socketPath: string): Promise<boolean> {
  const { promise, resolve } = Promise.withResolvers<boolean>();
  const socket = createConnection(socketPath);
  socket.on("connect", () => resolve(true)).on("error", () => resolve(false));
  const answer = await promise;
  socket.destroy();
  return answer;
}

async function makeFree({ socketPath, field }: WantedSocket): Promise<void> {
  await mkdir(dirname(socketPath), { recursive: true, mode: 0o755 });
  const found = await lstat(socketPath).catch(() => undefined);
  if (!found) return;
  const taken = (why: string): SocketPathTaken => new SocketPathTaken(`${field}: ${socketPath} ${why}`);
  if (!found.isSocket()) throw taken("is there and is no socket; remove it or choose another path");
  if (await isServed(socketPath)) throw taken("is served by another process; stop that one first");
  await rm(socketPath, { force: true });
}
