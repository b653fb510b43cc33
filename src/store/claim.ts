// One daemon a state folder: a second one, started by mistake, must not recover what the first is in the middle of.
//
// By a lock on a file that root alone may open. A socket's abstract name would need no program, but any user of the node may
// take such a name first, and keep the daemon from starting.

import { spawn } from "node:child_process";
import { once } from "node:events";
import { chmod, constants, type FileHandle, mkdir, open } from "node:fs/promises";
import { join } from "node:path";
import { errorCodeOf } from "../lib/error-code.ts";
import { VmletError } from "../model/failure.ts";
import { CLAIM, FOLDER_MODE } from "./layout.ts";

const FLOCK = "/usr/bin/flock";
const FLAGS = constants.O_RDWR | constants.O_CREAT | constants.O_NOFOLLOW;
/** What flock says of a lock that another has, where we tell it to. */
const TAKEN = 75;

/**
 * Held until disposed or until the process ends, however it ends. Makes the folder if it is missing.
 * @throws CONFIG_INVALID while another process holds it.
 */
export async function claimStateFolder(stateFolderPath: string): Promise<AsyncDisposable> {
  const refused = (why: string, cause?: unknown): VmletError =>
    new VmletError(
      { code: "CONFIG_INVALID", path: stateFolderPath, field: "stateFolderPath" },
      `stateFolderPath: ${stateFolderPath} ${why}`,
      { cause },
    );
  if ((await mkdir(stateFolderPath, { recursive: true })) !== undefined) await chmod(stateFolderPath, FOLDER_MODE);
  const file = await openClaim(stateFolderPath);
  try {
    const exitCode = await lock(file);
    if (exitCode === TAKEN) throw refused("is in use by another vmlet; stop that one first or choose another folder");
    if (exitCode !== 0) throw refused(`cannot be locked: ${FLOCK} ended with ${exitCode}`);
  } catch (error) {
    await file.close();
    throw error;
  }
  return { [Symbol.asyncDispose]: async () => await file.close() };
}

/** On a file system that became read-only a lock is to be had all the same; by the folder, where nobody has made the file. */
async function openClaim(stateFolderPath: string): Promise<FileHandle> {
  const path = join(stateFolderPath, CLAIM);
  try {
    return await open(path, FLAGS, 0o600);
  } catch (error) {
    if (errorCodeOf(error) !== "EROFS") throw error;
  }
  const asItIs = constants.O_RDONLY | constants.O_NOFOLLOW;
  return await open(path, asItIs).catch(async () => await open(stateFolderPath, asItIs));
}

/** The lock is the open file's, which the program shares with us: it stays when the program has ended. */
async function lock(file: FileHandle): Promise<number | null> {
  const child = spawn(FLOCK, ["--exclusive", "--nonblock", "--conflict-exit-code", `${TAKEN}`, "3"], {
    stdio: ["ignore", "ignore", "ignore", file.fd],
    env: {},
  });
  const [exitCode] = (await once(child, "exit")) as [number | null];
  return exitCode;
}
