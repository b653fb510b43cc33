// The folder of a log, step by step from the pod's own log folder. Others may write there, who collect logs or clean up, and
// some of them in a container that has the folder alone: a link of theirs must not make us write anywhere else on the node.

import { constants, type FileHandle, mkdir, open } from "node:fs/promises";
import { basename, dirname, join, relative, resolve } from "node:path";
import { errorCodeOf } from "../lib/error-code.ts";
import type { ConsoleLogRequest } from "../ports/console-log.ts";

export type LogPlace = Pick<ConsoleLogRequest, "logPath" | "logFolderPath">;

const FLAGS = constants.O_RDONLY | constants.O_DIRECTORY | constants.O_NOFOLLOW;
const MODE = 0o755;

/** A folder as it was when it was opened, whatever its path leads to by now. */
export class LogFolder implements AsyncDisposable {
  readonly #folder: FileHandle;

  private constructor(folder: FileHandle) {
    this.#folder = folder;
  }

  /** Makes folders that are missing only when asked to. @throws for a link in the place of the pod's folder or one in it. */
  static async open({ logPath, logFolderPath }: LogPlace, { makes }: { makes: boolean }): Promise<LogFolder> {
    const root = resolve(logFolderPath);
    if (makes) await mkdir(root, { recursive: true, mode: MODE });
    let at = new LogFolder(await openFolder(root, root));
    let path = root;
    for (const name of relative(root, dirname(logPath)).split("/").filter(Boolean)) {
      path = join(path, name);
      await using above = at;
      if (makes) await makeFolder(above.pathOf(name), path);
      at = new LogFolder(await openFolder(above.pathOf(name), path));
    }
    return at;
  }

  /** Of what is in it; empty: its own. Good while it is open. */
  pathOf(name: string): string {
    return join(`/proc/self/fd/${this.#folder.fd}`, basename(name));
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#folder.close();
  }
}

/** What could not be opened, by the path that people know. */
export function notOpened(path: string, error: unknown): Error {
  const code = errorCodeOf(error) ?? String(error);
  const why = LINK_OR_FILE.has(code) ? `is a link, or no ${code === "ENOTDIR" ? "folder" : "file"}` : code;
  return new Error(`${path}: ${why}`, { cause: error });
}

const LINK_OR_FILE: ReadonlySet<string> = new Set(["ENOTDIR", "ELOOP", "EISDIR", "ENXIO"]);

async function openFolder(path: string, shownPath: string): Promise<FileHandle> {
  try {
    return await open(path, FLAGS);
  } catch (error) {
    throw notOpened(shownPath, error);
  }
}

async function makeFolder(path: string, shownPath: string): Promise<void> {
  try {
    await mkdir(path, { mode: MODE });
  } catch (error) {
    if (errorCodeOf(error) !== "EEXIST") throw notOpened(shownPath, error);
  }
}
