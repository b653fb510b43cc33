// Copies of what the kubelet mounts, as far as they are small enough to travel in the seed.

import { constants } from "node:fs";
import { open, opendir, readlink, realpath, stat } from "node:fs/promises";
import { join, posix } from "node:path";
import { untilAborted } from "../lib/keyed-lock.ts";
import type { Run } from "../lib/spawn.ts";
import type { Mount } from "../model/machine.ts";
import type { CarriedMount, HostFiles } from "../ports/host-files.ts";
import type { SeedFile } from "../ports/seed.ts";
import { mayHang } from "./mounts.ts";

const MAX_FILE_BYTES = 256 << 10;
const MAX_FILES = 64;
const MAX_MOUNT_BYTES = 1 << 20;
/** A file there would be a device in a container; a guest has its own /dev, /proc and /sys. */
const GUEST_OWN = /^\/(dev|proc|sys)(\/|$)/;

/** What a volume may take to answer; a server of files that is gone takes for ever. */
const LIMIT_MS = 5_000;

export function createHostFiles({ run }: { readonly run: Run }, { limitMs = LIMIT_MS } = {}): HostFiles {
  return {
    carry: async (mount, signal) => {
      const limit = AbortSignal.timeout(limitMs);
      const limited = AbortSignal.any([signal, limit]);
      try {
        if (mayHang(mount.hostPath)) await untilItAnswers(mount.hostPath, run, limited);
        return await untilAborted(carry(mount, limited), limited);
      } catch (error) {
        signal.throwIfAborted();
        if (limit.aborted) return leftOut(`${mount.hostPath} did not answer in ${limitMs} ms`);
        return leftOut(`${mount.hostPath} cannot be read (${error instanceof Error ? error.message : String(error)})`);
      }
    },
  };
}

/** By a process of its own: a thread of ours that hangs in the kernel is lost, and there are four for all files. */
async function untilItAnswers(hostPath: string, run: Run, signal: AbortSignal): Promise<void> {
  await untilAborted(run("stat", ["--", hostPath], {}, signal), signal); // what it says, we see for ourselves
}

async function carry({ containerPath, hostPath }: Mount, signal: AbortSignal): Promise<CarriedMount> {
  if (!containerPath.startsWith("/")) return leftOut("its path in the container is not absolute");
  const guestPath = posix.normalize(containerPath).replace(/(?<=.)\/$/, "");
  if (guestPath === "/") return leftOut("the guest has its own file system there");
  if (GUEST_OWN.test(guestPath)) return leftOut("the guest has its own file system there");
  const found = await stat(hostPath);
  if (found.isFile()) return asCarried([await readSmall(hostPath, guestPath)]);
  if (found.isDirectory()) return await carryFolder(hostPath, guestPath, signal);
  return leftOut("it is neither a file nor a folder");
}

/** Token and config-map folders: files behind links (`token -> ..data/token`), one level. */
async function carryFolder(hostPath: string, guestPath: string, signal: AbortSignal): Promise<CarriedMount> {
  const names = await namesIn(hostPath, signal);
  if (names.length > MAX_FILES) return leftOut(`it has more than ${MAX_FILES} entries, and no more are copied`);
  const root = await realpath(hostPath);
  const files: SeedFile[] = [];
  for (const name of names) {
    signal.throwIfAborted();
    const path = await realpath(join(root, name));
    if (!path.startsWith(`${root}/`)) return leftOut(`${name} leads out of the folder`);
    if (!(await stat(path)).isFile())
      return leftOut(`${name} is not a plain file; only flat folders of small files are copied`);
    files.push(await readSmall(path, join(guestPath, name), root));
  }
  return asCarried(files);
}

/** One too many tells that there are: whoever shares the folder may have filled it with millions. */
async function namesIn(folderPath: string, signal: AbortSignal): Promise<readonly string[]> {
  const names: string[] = [];
  for await (const { name } of await opendir(folderPath)) {
    signal.throwIfAborted();
    if (!name.startsWith("..")) names.push(name);
    if (names.length > MAX_FILES) break;
  }
  return names.sort();
}

/**
 * Whoever can write in a shared folder can put a link in a file's place between our look at it and our opening it, so
 * what was opened is looked at again. @param root Where it must lie.
 */
async function readSmall(path: string, guestPath: string, root?: string): Promise<SeedFile> {
  await using file = await open(path, constants.O_RDONLY | constants.O_NONBLOCK);
  const found = await file.stat();
  if (!found.isFile()) throw new Error("it is no longer a plain file");
  if (root !== undefined && !(await readlink(`/proc/self/fd/${file.fd}`)).startsWith(`${root}/`))
    throw new Error("it was replaced by a link out of the folder");
  if (found.size > MAX_FILE_BYTES)
    throw new Error(`${found.size} bytes, only files up to ${MAX_FILE_BYTES} are copied`);
  const { buffer, bytesRead } = await file.read(Buffer.alloc(found.size), 0, found.size, 0); // it may be growing
  return { guestPath, content: buffer.subarray(0, bytesRead), mode: found.mode & 0o777 };
}

function asCarried(files: SeedFile[]): CarriedMount {
  const totalBytes = files.reduce((sum, { content }) => sum + content.length, 0);
  if (totalBytes > MAX_MOUNT_BYTES) return leftOut(`${totalBytes} bytes, only ${MAX_MOUNT_BYTES} are copied`);
  return { is: "carried", files };
}

const leftOut = (why: string): CarriedMount => ({ is: "left-out", why });
