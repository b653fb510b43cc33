// The MachineCgroups port: a QEMU that libvirt began in a cgroup of its own choice, moved into its pod's.

import { mkdir, readdir, readFile, rm } from "node:fs/promises";
import { join } from "node:path";
import { z } from "zod";
import { writeFileAtomically } from "../lib/atomic-file.ts";
import type { MachineId } from "../model/ids.ts";
import type { Logger } from "../ports/logger.ts";
import type { MachineCgroups, PlaceRequest } from "../ports/machine-cgroups.ts";
import { passControllersOn, writeCpuLimits } from "./cgroup-limits.ts";
import { cgroupMountsOf, libvirtCgroupFolders, MACHINE_CGROUP } from "./cgroup-usage.ts";
import { MOUNTS_PATH } from "./mounts.ts";
import { has, leavePodCgroup, ownCgroup, podFolders, removeGroup, writePid } from "./pod-cgroup.ts";
import { readOr } from "./process-usage.ts";

/** What is to be removed when the machine has ended: then nobody can tell any more where it was. */
const noteSchema = z.object({
  cgroupPath: z.string(),
  /** libvirt's groups; a libvirtd that was restarted does not know that they were this machine's. */
  bornInPaths: z.array(z.string()),
});
type Note = z.infer<typeof noteSchema>;

/** Of v1: the hierarchy that says which devices may be opened counts and limits nothing, and libvirt's list is the shorter one. */
const DEVICES_FILE = "devices.list";

export interface MachineCgroupOptions {
  /** A file per machine that we put into its pod's cgroup; must not survive a reboot. */
  readonly cgroupFolderPath: string;
  readonly mountsPath?: string;
}

export function createMachineCgroups(
  { cgroupFolderPath, mountsPath = MOUNTS_PATH }: MachineCgroupOptions,
  { log }: { readonly log: Logger },
): MachineCgroups {
  const notePathOf = (machineId: MachineId): string => join(cgroupFolderPath, machineId);
  const noteOf = (machineId: MachineId): Note | undefined => parsed(readOr(notePathOf(machineId)));

  const place = async ({ machineId, pid, cgroupPath, cpu }: PlaceRequest): Promise<void> => {
    const folders = await podFolders(cgroupPath, mountsPath);
    if (folders.length === 0) throw new Error("there is no such cgroup");
    const mounts = cgroupMountsOf(await readFile(mountsPath, "utf8"));
    const bornIn = libvirtCgroupFolders(readOr(`/proc/${pid}/cgroup`) ?? "", mounts);
    const bornInPaths = [...new Set([...(noteOf(machineId)?.bornInPaths ?? []), ...bornIn])];
    await mkdir(cgroupFolderPath, { recursive: true, mode: 0o700 });
    const note: Note = { cgroupPath, bornInPaths };
    await writeFileAtomically(notePathOf(machineId), JSON.stringify(note));
    for (const folder of folders) {
      if (await has(join(folder, DEVICES_FILE))) continue;
      await passControllersOn(folder);
      const own = await ownCgroup(folder, MACHINE_CGROUP);
      // A group with other limits is still the pod's.
      await writeCpuLimits(own, cpu).catch((error: unknown) => log.warn("QEMU has not all its CPU limits", { error }));
      await writePid(pid, own);
      // The kernel's threads for its network and clock began with it, as did helpers; not each of them can be moved.
      for (const other of await membersOf(bornIn)) await writePid(other, own).catch(() => {});
    }
  };

  return {
    async place(request, signal) {
      signal.throwIfAborted();
      const { machineId: machine, cgroupPath: cgroup } = request;
      await place(request).catch((error: unknown) =>
        log.warn("QEMU is not in its pod's cgroup", { machine, cgroup, error }),
      );
    },

    async tune(machineId, cpu, signal) {
      signal.throwIfAborted();
      const note = noteOf(machineId);
      if (note === undefined) return false;
      const folders = (await podFolders(join(note.cgroupPath, MACHINE_CGROUP), mountsPath)).filter(isInhabited);
      for (const folder of folders) await writeCpuLimits(folder, cpu);
      return folders.length > 0; // or it could not be moved, and libvirt's limits hold
    },

    async leave(machineId, signal) {
      signal.throwIfAborted();
      const note = noteOf(machineId);
      if (note !== undefined) {
        await leavePodCgroup({ cgroupPath: note.cgroupPath, name: MACHINE_CGROUP, mountsPath }, signal);
        for (const path of note.bornInPaths) await removeTree(path, signal);
      }
      await rm(notePathOf(machineId), { force: true });
    },
  };
}

function parsed(text: string | undefined): Note | undefined {
  if (text === undefined) return undefined;
  try {
    return noteSchema.safeParse(JSON.parse(text)).data;
  } catch {
    return undefined;
  }
}

const isInhabited = (folder: string): boolean => (readOr(join(folder, "cgroup.procs")) ?? "").trim() !== "";

async function membersOf(folders: readonly string[]): Promise<Set<number>> {
  const pids = new Set<number>();
  for (const folder of folders) {
    for (const group of [folder, ...(await groupsBelow(folder))]) {
      const lines = (readOr(join(group, "cgroup.procs")) ?? "").split("\n"); // threaded groups of v2 do not tell
      for (const line of lines) if (line !== "") pids.add(Number(line));
    }
  }
  return pids;
}

/** The deepest first. */
async function groupsBelow(folder: string): Promise<string[]> {
  const entries = await readdir(folder, { withFileTypes: true }).catch(() => []);
  const groups: string[] = [];
  for (const entry of entries) {
    if (!entry.isDirectory()) continue;
    const path = join(folder, entry.name);
    groups.push(...(await groupsBelow(path)), path);
  }
  return groups;
}

/** libvirtd may be at it as well. */
async function removeTree(folder: string, signal: AbortSignal): Promise<void> {
  if (!(await has(folder))) return;
  for (const group of [...(await groupsBelow(folder)), folder]) await removeGroup(group, signal);
}
