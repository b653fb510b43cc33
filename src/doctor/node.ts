// The node as checks see it: files, sockets, programs. Read only, but for what a check makes and takes away again.

import { constants } from "node:fs";
import { access, readdir, readFile, stat, statfs } from "node:fs/promises";
import { delimiter, join } from "node:path";
import { isServed } from "../lib/socket-path.ts";
import { type Run, run } from "../lib/spawn.ts";

const MAX_FILE_BYTES = 1 << 20;

export interface Node {
  readonly run: Run;
  /** A file's text, its first MiB; undefined: there is none that we may read. */
  read(path: string): Promise<string | undefined>;
  /** Names in a folder; none where there is no folder. */
  list(path: string): Promise<readonly string[]>;
  /** Undefined: not there. `group` by number. */
  stat(path: string): Promise<{ readonly mode: number; readonly gid: number } | undefined>;
  /** Bytes that root may still write there, and all there are; of the nearest folder above that is there. */
  space(path: string): Promise<{ readonly freeBytes: number; readonly totalBytes: number }>;
  /** Whether somebody listens on the unix socket. */
  answers(socketPath: string): Promise<boolean>;
  /** The path of a program in PATH, or of one that is given by its path; undefined: not there, or not to be run. */
  program(name: string): Promise<string | undefined>;
}

export const thisNode: Node = {
  run,
  read: async (path) =>
    await readFile(path).then(
      (bytes) => bytes.subarray(0, MAX_FILE_BYTES).toString("utf8"),
      () => undefined,
    ),
  list: async (path) => await readdir(path).catch(() => []),
  stat: async (path) =>
    await stat(path).then(
      ({ mode, gid }) => ({ mode: mode & 0o7777, gid }),
      () => undefined,
    ),
  space,
  answers: isServed,
  program: async (name) => {
    const folders = name.startsWith("/") ? [""] : (process.env["PATH"] ?? "").split(delimiter);
    for (const folder of folders) {
      const path = join(folder, name);
      const isThere = await access(path, constants.X_OK).then(
        () => true,
        () => false,
      );
      if (isThere) return path;
    }
    return undefined;
  },
};

async function space(path: string): ReturnType<Node["space"]> {
  const found = await statfs(path).catch(() => undefined);
  if (found !== undefined) return { freeBytes: found.bavail * found.bsize, totalBytes: found.blocks * found.bsize };
  return path === "/" ? { freeBytes: 0, totalBytes: 0 } : await space(join(path, ".."));
}
