// Reads all records back after a restart. Whatever is wrong with one of them is that one's trouble only.

import { open, readdir, rm } from "node:fs/promises";
import { join } from "node:path";
import { TEMP_SUFFIX } from "../lib/atomic-file.ts";
import { errorCodeOf } from "../lib/error-code.ts";
import { isMachineId, isPodId, type PodId } from "../model/ids.ts";
import type { Logger } from "../ports/logger.ts";
import type { BrokenRecord, MachineRecord, PodRecord, StoredPods } from "../ports/pod-store.ts";
import * as layout from "./layout.ts";
import * as records from "./records.ts";

/** Also finishes what a crash interrupted: half-added and half-removed folders, temp files. */
export async function loadAll(at: layout.StoreFolders, log: Logger, signal: AbortSignal): Promise<StoredPods> {
  const pods: PodRecord[] = [];
  const machines: MachineRecord[] = [];
  const broken: BrokenRecord[] = [];
  for (const podId of await idsIn(layout.podsFolder(at), isPodId, log)) {
    signal.throwIfAborted();
    const folderPath = layout.podFolder(at, podId);
    await settle(broken, podId, folderPath, log, async () => {
      await sweepTemps(folderPath, log);
      const facts = await read(join(folderPath, layout.FACTS_OF_POD), records.podFactsRecord);
      if (facts.podId !== podId) throw new Error(`${layout.FACTS_OF_POD}: is of pod ${facts.podId}`);
      pods.push({ facts, state: await read(join(folderPath, layout.STATE), records.podStateRecord) });
    });
    await settle(broken, podId, folderPath, log, async () => {
      for (const machineId of await idsIn(layout.machinesFolder(at, podId), isMachineId, log)) {
        const machinePath = layout.machineFolder(at, podId, machineId);
        await settle(broken, podId, machinePath, log, async () => {
          await sweepTemps(machinePath, log);
          const facts = await read(join(machinePath, layout.FACTS_OF_MACHINE), records.machineFactsRecord);
          if (facts.machineId !== machineId || facts.podId !== podId) {
            throw new Error(`${layout.FACTS_OF_MACHINE}: is of container ${facts.machineId} in pod ${facts.podId}`);
          }
          const state = await read(join(machinePath, layout.STATE), records.machineStateRecord);
          const resources = await readIfThere(join(machinePath, layout.RESOURCES), records.resourcesRecord);
          machines.push({ facts, state, ...(resources === undefined ? {} : { resources }) });
        });
      }
    });
  }
  return { pods, machines, broken };
}

async function settle(
  broken: BrokenRecord[],
  podId: PodId,
  path: string,
  log: Logger,
  work: () => Promise<void>,
): Promise<void> {
  try {
    await work();
  } catch (error) {
    const text = error instanceof Error ? error.message : String(error);
    broken.push({ podId, path, error: text });
    log.error("record is broken", { path, error });
  }
}

async function idsIn<Id extends string>(
  folderPath: string,
  isId: (name: string) => name is Id,
  log: Logger,
): Promise<readonly Id[]> {
  const ids: Id[] = [];
  for (const name of (await readdir(folderPath)).sort()) {
    if (isId(name)) {
      ids.push(name);
      continue;
    }
    const path = join(folderPath, name);
    if (name.startsWith(layout.ADDING) || name.startsWith(layout.REMOVING)) {
      log.info("removing what a crash left half done", { path });
      await removeLeftover(path, log);
      continue;
    }
    log.warn("ignored: not the name of a record", { path });
  }
  return ids;
}

async function sweepTemps(folderPath: string, log: Logger): Promise<void> {
  for (const name of await readdir(folderPath)) {
    if (name.endsWith(TEMP_SUFFIX)) await removeLeftover(join(folderPath, name), log);
  }
}

/** It is no record: where it cannot be removed, all that is one is read all the same. */
async function removeLeftover(path: string, log: Logger): Promise<void> {
  try {
    await rm(path, { recursive: true, force: true });
  } catch (error) {
    log.warn("what a crash left half done cannot be removed", { path, error });
  }
}

async function readIfThere<T>(path: string, kind: records.RecordKind<T>): Promise<T | undefined> {
  try {
    return await read(path, kind);
  } catch (error) {
    if (errorCodeOf(error) === "ENOENT") return undefined;
    throw error;
  }
}

async function read<T>(path: string, kind: records.RecordKind<T>): Promise<T> {
  await using file = await open(path, "r");
  const { size } = await file.stat();
  if (size > records.RECORD_MAX_BYTES) {
    throw new Error(`${path}: ${size} bytes, limit ${records.RECORD_MAX_BYTES}`);
  }
  try {
    return kind.decode(await file.readFile("utf8"));
  } catch (error) {
    throw new Error(`${path}: ${error instanceof Error ? error.message : String(error)}`, { cause: error });
  }
}
