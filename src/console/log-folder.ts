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
      if (makes) await mkdir(above.pathOf(name), { mode: MODE }).catch(unlessThere);
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

/** @param shownPath What people call it. */
async function openFolder(path: string, shownPath: string): Promise<FileHandle> {
  try {
    return await open(path, FLAGS);
  } catch (error) {
    const code = errorCodeOf(error);
    if (code !== "ENOTDIR" && code !== "ELOOP") throw error;
    throw new Error(`${shownPath}: is a link or a file, and a pod's log is only written in folders`, { cause: error });
  }
}

function unlessThere(error: unknown): void {
  if (errorCodeOf(error) !== "EEXIST") throw error;
}
