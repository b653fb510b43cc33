// The PodStore on disk: a folder per pod, a folder per machine inside it, facts and state as separate records.

import { chmod, chown, mkdir, open, readdir, rename, rm, statfs } from "node:fs/promises";
import { join } from "node:path";
import { syncFolder, writeFileAtomically } from "../lib/atomic-file.ts";
import { errorCodeOf } from "../lib/error-code.ts";
import { folderUsage } from "../lib/folder-usage.ts";
import { setMode } from "../lib/mode.ts";
import { mountPointOf } from "../lib/mount-point.ts";
import { QEMU_USERS } from "../lib/qemu-user.ts";
import { VmletError } from "../model/failure.ts";
import type { MachineId, PodId } from "../model/ids.ts";
import type { MachineState } from "../model/machine.ts";
import type { PodState } from "../model/pod.ts";
import type { Resources } from "../model/resources.ts";
import type { FilesystemUsage } from "../ports/image-store.ts";
import type { Logger } from "../ports/logger.ts";
import type { MachinePaths, MachineRecord, PodRecord, PodStore, StoredPods } from "../ports/pod-store.ts";
import * as layout from "./layout.ts";
import { loadAll } from "./load.ts";
import * as records from "./records.ts";

export interface StoreOptions extends layout.StoreFolders {
  /**
   * Who QEMU runs as: it creates the VNC socket itself, so that folder is its own. Absent: the folder stays ours, and a
   * domain with VNC fails to start saying so.
   */
  readonly qemuUid?: number;
}

const FILE_MODE = 0o600;
/** For what is ours alone. */
const OWN_FOLDER_MODE = 0o700;
/** What DISK_FULL asks for: several blocks more than a usual pod takes. */
const ROOM_FOR_RECORDS_BYTES = 64 << 10;
const NO_ROOM: ReadonlySet<string> = new Set(["ENOSPC", "EDQUOT", "EROFS"]);

/** Makes the folders that are missing. @throws CONFIG_INVALID when the run folder's path is too long for sockets. */
export async function openPodStore(
  options: StoreOptions,
  { log }: { readonly log: Logger },
  signal: AbortSignal,
): Promise<PodStore> {
  signal.throwIfAborted();
  if (!layout.fitsSocketPaths(options)) {
    throw new VmletError(
      { code: "CONFIG_INVALID", path: options.runFolderPath, field: "runFolderPath" },
      `run folder ${options.runFolderPath}: its name is too long for the sockets in it (107 bytes); choose a shorter one`,
    );
  }
  for (const path of [options.stateFolderPath, options.runFolderPath]) {
    if ((await mkdir(path, { recursive: true })) !== undefined) await chmod(path, layout.FOLDER_MODE); // else: the admin's choice
  }
  for (const path of [layout.podsFolder(options), layout.vncFolder(options)]) await makeFolder(path);
  for (const path of [layout.sshFolder(options), layout.consoleFolder(options)])
    await makeFolder(path, OWN_FOLDER_MODE);
  const { qemuUid } = options;
  if (qemuUid === undefined) log.warn("no user of QEMU found", { users: QEMU_USERS });
  else await chown(layout.vncFolder(options), qemuUid, -1);
  return new DiskPodStore(options, log);
}

class DiskPodStore implements PodStore {
  readonly #at: layout.StoreFolders;
  readonly #log: Logger;
  #mountpoint: string | undefined;

  constructor(at: layout.StoreFolders, log: Logger) {
    this.#at = at;
    this.#log = log;
  }

  async load(signal: AbortSignal): Promise<StoredPods> {
    return loadAll(this.#at, this.#log, signal);
  }

  async usage(): Promise<FilesystemUsage> {
    return { mountpoint: await this.mountpoint(), ...(await folderUsage(layout.podsFolder(this.#at))) };
  }

  async mountpoint(): Promise<string> {
    this.#mountpoint ??= await mountPointOf(layout.podsFolder(this.#at)); // nobody mounts over it while we run
    return this.#mountpoint;
  }

  async addPod({ facts, state }: PodRecord): Promise<void> {
    const factsText = encode(records.podFactsRecord, facts, "config");
    const stateText = encode(records.podStateRecord, state, "state");
    await this.#addFolder(layout.podsFolder(this.#at), facts.podId, undefined, async (folderPath) => {
      await makeFolder(join(folderPath, "machines"));
      await writeFileAtomically(join(folderPath, layout.FACTS_OF_POD), factsText, { mode: FILE_MODE });
      await writeFileAtomically(join(folderPath, layout.STATE), stateText, { mode: FILE_MODE });
    });
  }

  async savePodState(podId: PodId, state: PodState): Promise<void> {
    const path = join(layout.podFolder(this.#at, podId), layout.STATE);
    await this.#write(path, encode(records.podStateRecord, state, "state"), () => podNotFound(podId));
  }

  async removePod(podId: PodId): Promise<void> {
    for (const name of await namesIn(layout.machinesFolder(this.#at, podId))) {
      await this.#removeSockets(name);
    }
    await removeFolder(layout.podsFolder(this.#at), podId);
  }

  async addMachine({ facts, state }: MachineRecord): Promise<void> {
    const { podId, machineId } = facts;
    const factsText = encode(records.machineFactsRecord, facts, "config");
    const stateText = encode(records.machineStateRecord, state, "state");
    await this.#addFolder(layout.machinesFolder(this.#at, podId), machineId, podId, async (folderPath) => {
      // libvirt opens these by itself, appending, and gives them to QEMU while it runs. They are made here so that
      // whoever reads them finds them from the first moment.
      for (const name of [layout.CONSOLE, layout.INIT_REPORT]) {
        await using _file = await open(join(folderPath, name), "wx", FILE_MODE);
      }
      await writeFileAtomically(join(folderPath, layout.FACTS_OF_MACHINE), factsText, { mode: FILE_MODE });
      await writeFileAtomically(join(folderPath, layout.STATE), stateText, { mode: FILE_MODE });
    });
  }

  async saveMachineState(podId: PodId, machineId: MachineId, state: MachineState): Promise<void> {
    const path = join(layout.machineFolder(this.#at, podId, machineId), layout.STATE);
    await this.#write(path, encode(records.machineStateRecord, state, "state"), () => machineNotFound(machineId));
  }

  async saveMachineResources(podId: PodId, machineId: MachineId, resources: Resources): Promise<void> {
    const path = join(layout.machineFolder(this.#at, podId, machineId), layout.RESOURCES);
    await this.#write(path, encode(records.resourcesRecord, resources, "linux"), () => machineNotFound(machineId));
  }

  async removeMachine(podId: PodId, machineId: MachineId): Promise<void> {
    await this.#removeSockets(machineId);
    await removeFolder(layout.machinesFolder(this.#at, podId), machineId);
  }

  pathsOf(podId: PodId, machineId: MachineId): MachinePaths {
    return layout.machinePaths(this.#at, podId, machineId);
  }

  /** QEMU leaves them behind. */
  async #removeSockets(machineId: string): Promise<void> {
    await rm(layout.vncSocketPath(this.#at, machineId), { force: true });
    await rm(layout.sshSocketPath(this.#at, machineId), { force: true });
    await rm(layout.consoleSocketPath(this.#at, machineId), { force: true });
  }

  /** Filled under another name first: a crash leaves the whole folder or none of it. */
  async #addFolder(
    parentPath: string,
    id: PodId | MachineId,
    owner: PodId | undefined,
    fill: (folderPath: string) => Promise<void>,
  ): Promise<void> {
    const stagingPath = join(parentPath, layout.ADDING + id);
    try {
      await rm(stagingPath, { recursive: true, force: true });
      await makeFolder(stagingPath);
      await fill(stagingPath);
      await syncFolder(stagingPath);
      await rename(stagingPath, join(parentPath, id));
      await syncFolder(parentPath);
    } catch (error) {
      await rm(stagingPath, { recursive: true, force: true });
      if (errorCodeOf(error) === "ENOENT" && owner !== undefined) throw podNotFound(owner);
      if (errorCodeOf(error) === "ENOTEMPTY" || errorCodeOf(error) === "EEXIST") {
        throw new VmletError({ code: "NAME_TAKEN", name: id, holder: id }, `${id}: there is a record of it already`);
      }
      throw await diskFullOr(error, parentPath);
    }
  }

  async #write(path: string, content: string, notFound: () => VmletError): Promise<void> {
    try {
      await writeFileAtomically(path, content, { mode: FILE_MODE });
    } catch (error) {
      if (errorCodeOf(error) === "ENOENT") throw notFound();
      throw await diskFullOr(error, path);
    }
  }
}

/** Out of sight by one rename, then removed: half a folder is never taken for a record. */
async function removeFolder(parentPath: string, id: string): Promise<void> {
  const tombstonePath = join(parentPath, layout.REMOVING + id);
  await rm(tombstonePath, { recursive: true, force: true });
  try {
    await rename(join(parentPath, id), tombstonePath);
  } catch (error) {
    if (errorCodeOf(error) === "ENOENT") return;
    throw await diskFullOr(error, parentPath);
  }
  await syncFolder(parentPath);
  await rm(tombstonePath, { recursive: true, force: true });
}

function encode<T>(kind: records.RecordKind<T>, value: T, field: string): string {
  const text = kind.encode(value);
  const sizeBytes = Buffer.byteLength(text);
  if (sizeBytes <= records.RECORD_MAX_BYTES) return text;
  throw new VmletError(
    { code: "SPEC_INVALID", field },
    `${field}: ${sizeBytes} bytes to keep, limit ${records.RECORD_MAX_BYTES}; make env, labels or annotations smaller`,
  );
}

/** There already: only its mode is set. */
async function makeFolder(path: string, mode = layout.FOLDER_MODE): Promise<void> {
  try {
    await mkdir(path);
  } catch (error) {
    if (errorCodeOf(error) !== "EEXIST") throw error;
  }
  await setMode(path, mode); // whatever the umask made of it
}

async function namesIn(folderPath: string): Promise<readonly string[]> {
  try {
    return await readdir(folderPath);
  } catch (error) {
    if (errorCodeOf(error) === "ENOENT") return [];
    throw error;
  }
}

/** A file system that became read-only has no room either, and what ends must end there, too. */
async function diskFullOr(error: unknown, path: string): Promise<unknown> {
  const code = errorCodeOf(error) ?? "";
  if (!NO_ROOM.has(code)) return error;
  const { bavail, bsize } = await statfs(join(path, "..")).catch(() => ({ bavail: 0, bsize: 0 }));
  return new VmletError(
    { code: "DISK_FULL", path, neededBytes: ROOM_FOR_RECORDS_BYTES, freeBytes: bavail * bsize },
    code === "EROFS"
      ? `${path}: no record can be written, the file system is read-only; look into the node's disk and its kernel log`
      : `${path}: no room for a record; free space there`,
    { cause: error },
  );
}

const machineNotFound = (machineId: MachineId): VmletError =>
  new VmletError({ code: "MACHINE_NOT_FOUND", machineId }, `container ${machineId}: no record, it was removed`);

const podNotFound = (podId: PodId): VmletError =>
  new VmletError({ code: "POD_NOT_FOUND", podId }, `pod ${podId}: no record, it was removed`);
