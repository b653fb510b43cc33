// One daemon a state folder: a second one, started by mistake, must not recover what the first is in the middle of.

import { createHash } from "node:crypto";
import { realpath } from "node:fs/promises";
import { createServer } from "node:net";
import { VmletError } from "../model/failure.ts";

/**
 * Held until disposed or until the process ends, however it ends: an abstract socket is the kernel's, not a file.
 * @throws CONFIG_INVALID while another process holds it.
 */
export async function claimStateFolder(stateFolderPath: string): Promise<AsyncDisposable> {
  const path = await realpath(stateFolderPath).catch(() => stateFolderPath); // not there: nothing in it to protect
  const name = `vmlet-${createHash("sha256").update(path).digest("hex")}`; // a socket's name is short
  const server = createServer((socket) => socket.destroy());
  const { promise, resolve, reject } = Promise.withResolvers<void>();
  server.once("error", reject);
  server.listen(`\0${name}`, resolve);
  try {
    await promise;
  } catch (cause) {
    const why =
      cause instanceof Error && "code" in cause && cause.code === "EADDRINUSE" ? "another vmlet" : String(cause);
    throw new VmletError(
      { code: "CONFIG_INVALID", path: stateFolderPath, field: "stateFolderPath" },
      `stateFolderPath: ${stateFolderPath} is in use by ${why}; stop that one first or choose another folder`,
      { cause },
    );
  }
  return {
    async [Symbol.asyncDispose]() {
      const { promise: closed, resolve: onClosed } = Promise.withResolvers<void>();
      server.close(() => onClosed());
      await closed;
    },
  };
}
