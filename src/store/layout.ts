// The files of the folders of pods and machines, and their sockets, by name. docs/layout-on-disk.md tells people of them
// and of what others write.

import { join } from "node:path";
import type { MachineId, PodId } from "../model/ids.ts";
import type { MachinePaths } from "../ports/pod-store.ts";

export interface StoreFolders {
  /** Survives a reboot of the node: `/var/lib/vmlet`. */
  readonly stateFolderPath: string;
  /** Does not: `/run/vmlet`. */
  readonly runFolderPath: string;
}

/** QEMU's user must pass through to the disk, and read no names. */
export const FOLDER_MODE = 0o711;

/** In the state folder, open and locked while a daemon has it. */
export const CLAIM = "claim";
/** A folder that is still being filled; it gets its real name by one rename. Leftovers are thrown away at load. */
export const ADDING = ".adding-";
/** A folder that is on its way out. Leftovers are removed at load. */
export const REMOVING = ".removing-";

export const FACTS_OF_POD = "pod.json";
export const FACTS_OF_MACHINE = "machine.json";
export const STATE = "state.json";
export const RESOURCES = "resources.json";
export const CONSOLE = "console.log";
export const INIT_REPORT = "init-report";

// sockaddr_un.sun_path is 108 bytes, the closing NUL included.
const SOCKET_PATH_MAX_BYTES = 107;

export const podsFolder = ({ stateFolderPath }: StoreFolders): string => join(stateFolderPath, "pods");
export const podFolder = (at: StoreFolders, podId: PodId): string => join(podsFolder(at), podId);
export const machinesFolder = (at: StoreFolders, podId: PodId): string => join(podFolder(at, podId), "machines");
export const machineFolder = (at: StoreFolders, podId: PodId, machineId: MachineId): string =>
  join(machinesFolder(at, podId), machineId);
export const vncFolder = ({ runFolderPath }: StoreFolders): string => join(runFolderPath, "vnc");

/** By the id alone: a socket's path must be short. */
export const vncSocketPath = (at: StoreFolders, machineId: string): string =>
  join(vncFolder(at), `${machineId.slice(0, 12)}.sock`);

/** QEMU never opens what is in it: libvirtd, as root, makes the sockets and hands them over open. */
export const sshFolder = ({ runFolderPath }: StoreFolders): string => join(runFolderPath, "ssh");

export const sshSocketPath = (at: StoreFolders, machineId: string): string =>
  join(sshFolder(at), `${machineId.slice(0, 12)}.sock`);

/** As for ssh: who can connect there, types on the console. */
export const consoleFolder = ({ runFolderPath }: StoreFolders): string => join(runFolderPath, "console");

export const consoleSocketPath = (at: StoreFolders, machineId: string): string =>
  join(consoleFolder(at), `${machineId.slice(0, 12)}.sock`);

export function machinePaths(at: StoreFolders, podId: PodId, machineId: MachineId): MachinePaths {
  const folderPath = machineFolder(at, podId, machineId);
  return {
    folderPath,
    overlayPath: join(folderPath, "disk.qcow2"),
    seedPath: join(folderPath, "seed.iso"),
    consoleFilePath: join(folderPath, CONSOLE),
    consolePositionPath: join(folderPath, "console-position.json"),
    initReportPath: join(folderPath, INIT_REPORT),
    vncSocketPath: vncSocketPath(at, machineId),
    consoleSocketPath: consoleSocketPath(at, machineId),
    sshSocketPath: sshSocketPath(at, machineId),
    sshKeyFolderPath: join(folderPath, "ssh"),
  };
}

/** Whether the kernel can bind sockets in this run folder. */
export function fitsSocketPaths(at: StoreFolders): boolean {
  return Buffer.byteLength(consoleSocketPath(at, "0".repeat(12))) <= SOCKET_PATH_MAX_BYTES; // the longest of them
}
