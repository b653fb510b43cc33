// A process of ours in the cgroup of the pod that it serves: counted and limited there, and not ended with our own.

import { access, mkdir, readFile, rmdir, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { poll } from "../lib/backoff.ts";
import { errorCodeOf } from "../lib/error-code.ts";
import { MOUNTS_PATH, mountsIn } from "./mounts.ts";

/** Below the pod's, because a cgroup of v2 that has others in it takes no process itself. */
const OWN_NAME = "vmlet";
/** A v1 cgroup takes nobody before it is told these, and is made without. */
const CPUSET_FILES = ["cpuset.cpus", "cpuset.mems"];
/** For each hierarchy; it takes milliseconds. */
const LEAVE_LIMIT_MS = 1_000;

/**
 * Afterwards the process is in the pod's cgroup in every hierarchy that has it, and of v1, where there are others, in none of
 * ours. A pod without a cgroup changes nothing.
 * @param cgroupPath Such as `/kubepods.slice/…`.
 */
export async function joinPodCgroup(pid: number, cgroupPath: string, mountsPath = MOUNTS_PATH): Promise<void> {
  const hierarchies = await mountedHierarchies(mountsPath);
  const having = await Promise.all(hierarchies.map(async ({ path }) => await has(join(path, cgroupPath))));
  if (!having.includes(true)) return;
  for (const [index, { path, version }] of hierarchies.entries()) {
    if (having[index] === true) await writePid(pid, await ownCgroup(join(path, cgroupPath), OWN_NAME));
    else if (version === 1) await writePid(pid, path);
  }
}

/** With nobody in it any more. One in which somebody is still after a moment stays, and is the pod's to remove. */
export async function leavePodCgroup(
  {
    cgroupPath,
    name = OWN_NAME,
    mountsPath = MOUNTS_PATH,
  }: { readonly cgroupPath: string; readonly name?: string; readonly mountsPath?: string },
  signal: AbortSignal,
): Promise<void> {
  for (const { path } of await mountedHierarchies(mountsPath)) await removeGroup(join(path, cgroupPath, name), signal);
}

/** The pod's own folder in every hierarchy that has it. */
export async function podFolders(cgroupPath: string, mountsPath = MOUNTS_PATH): Promise<string[]> {
  const folders = (await mountedHierarchies(mountsPath)).map(({ path }) => join(path, cgroupPath));
  const having = await Promise.all(folders.map(has));
  return folders.filter((_, index) => having[index]);
}

/** A process is seen to end before the kernel has let go of its cgroup. */
export async function removeGroup(path: string, signal: AbortSignal): Promise<void> {
  const giveUpAtMs = performance.now() + LEAVE_LIMIT_MS;
  const remove = async (): Promise<true | undefined> => {
    try {
      await rmdir(path);
    } catch (error) {
      if (errorCodeOf(error) === "EBUSY" && performance.now() < giveUpAtMs) return undefined;
    }
    return true; // or it was never made
  };
  await poll(remove, { firstMs: 2, maxMs: 50 }, signal);
}

/** Made if need be, and ready to take somebody. */
export async function ownCgroup(podFolder: string, name: string): Promise<string> {
  const folder = join(podFolder, name);
  await mkdir(folder, { recursive: true });
  for (const file of CPUSET_FILES) {
    const given = await readFile(join(folder, file), "utf8").catch(() => undefined);
    // In v2 an empty file means "as above".
    if (given?.trim() === "" && !(await has(join(folder, "cgroup.controllers"))))
      await writeFile(join(folder, file), await readFile(join(podFolder, file), "utf8"));
  }
  return folder;
}

export async function writePid(pid: number, folder: string): Promise<void> {
  await writeFile(join(folder, "cgroup.procs"), String(pid));
}

export async function has(path: string): Promise<boolean> {
  return await access(path).then(
    () => true,
    () => false,
  );
}

export interface Hierarchy {
  readonly path: string;
  readonly version: 1 | 2;
}

/** All that are mounted, systemd's own too: whoever ends a container looks for processes in any of them. */
export async function mountedHierarchies(mountsPath = MOUNTS_PATH): Promise<Hierarchy[]> {
  return mountsIn(await readFile(mountsPath, "utf8")).flatMap(({ path, type }) => {
    if (type === "cgroup2") return { path, version: 2 as const };
    return type === "cgroup" ? { path, version: 1 as const } : [];
  });
}
