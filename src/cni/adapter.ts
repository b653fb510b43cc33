// The Network port by CNI plugins.
//
// INVARIANTS: a record is on disk before the first plugin runs and until DEL of the whole chain succeeded; ADD is never
// run twice for one pod without a DEL in between; DEL gets the configuration and the arguments of its ADD.

import { statfs } from "node:fs/promises";
import type { Run } from "../lib/spawn.ts";
import { undoSignal } from "../lib/undo.ts";
import type { Attachment } from "../model/attachment.ts";
import { failsWith, VmletError } from "../model/failure.ts";
import type { Logger } from "../ports/logger.ts";
import type { Network, NetworkRequest } from "../ports/network.ts";
import { cniArgs, executionConfig } from "./arguments.ts";
import { AttachmentCache, type CachedAttachment } from "./attachment-cache.ts";
import { pluginFailed } from "./errors.ts";
import { readInterface, readRoutes } from "./interface-facts.ts";
import { knowsCheck, loadNetworkConfig, type NetworkConfig } from "./network-config.ts";
import type { CniOptions } from "./options.ts";
import { findPlugin, type PluginCall, runPlugin } from "./plugin.ts";
import { type CniResult, parseResult, toAttachment } from "./result.ts";

const INTERFACE_NAME = "eth0";
const NSFS_MAGIC = 0x6e736673;

export interface NetworkParts {
  readonly run: Run;
  readonly log: Logger;
}

/** Calls for one pod MUST NOT overlap (CNI SPEC 1.1.0, section 2 "Lifecycle & Ordering"); the engine's lock sees to it. */
export function createNetwork(options: CniOptions, { run, log }: NetworkParts): Network {
  const cache = new AttachmentCache(options.cacheFolderPath);
  const parts = { run, binFolderPaths: options.binFolderPaths, pluginLimitMs: options.pluginLimitMs };

  const detachAs = async (record: CachedAttachment, signal: AbortSignal): Promise<void> => {
    await delChain(record, (call) => runPlugin(call, parts, signal));
    await cache.remove(record.request.podId);
  };

  return {
    async attach(request, signal) {
      signal.throwIfAborted();
      const earlier = await cache.read(request.podId);
      if (earlier?.at === "attached") return earlier.attachment;
      if (earlier !== undefined) await detachAs(earlier, signal); // a crash in the middle of ADD

      const config = await loadNetworkConfig(options.configFolderPath);
      const args = cniArgs(request);
      // Before the intent: what cannot be run for ADD cannot be run for DEL, and the pod would stay for ever.
      for (const { type } of config.plugins) await findPlugin(type, options.binFolderPaths);
      const intent = { at: "intended", config, request } as const;
      await cache.write(request.podId, intent);
      try {
        const result = await addChain(config, request, args, (call) => runPlugin(call, parts, signal));
        const attachment = await describe(run, config, request, result, signal);
        signal.throwIfAborted();
        await cache.write(request.podId, { ...intent, at: "attached", result, attachment });
        return attachment;
      } catch (error) {
        await detachAs(intent, undoSignal(options.pluginLimitMs * config.plugins.length)).catch(
          (undoError: unknown) => {
            // The intent stays on disk, so that the next detach tries again.
            log.warn("CNI ADD failed and could not be undone", { pod: request.podId, error: undoError });
          },
        );
        throw error;
      }
    },

    async detach(request, signal) {
      signal.throwIfAborted();
      const record = await cache.read(request.podId).catch(async (error: unknown): Promise<CachedAttachment> => {
        if (!failsWith(error, "RECORD_BROKEN")) throw error;
        // Without the record the best is what the node's configuration says now: a pod must not stay for ever.
        log.error("network record is broken; detaching by the present configuration", { pod: request.podId, error });
        return { at: "intended", config: await loadNetworkConfig(options.configFolderPath), request };
      });
      if (record !== undefined) await detachAs(record, signal);
    },

    async check({ podId }, signal) {
      signal.throwIfAborted();
      const record = await cache.read(podId);
      if (record?.at !== "attached") throw pluginFailed("none", `pod ${podId} is not attached to a network`);
      if (record.config.disableCheck || !knowsCheck(record.config.cniVersion)) return;
      for (const call of callsOf("CHECK", record, record.result)) await runPlugin(call, parts, signal);
    },

    async status() {
      try {
        const config = await loadNetworkConfig(options.configFolderPath);
        for (const { type } of config.plugins) await findPlugin(type, options.binFolderPaths);
        return { isReady: true, network: config.name };
      } catch (error) {
        if (error instanceof VmletError) return { isReady: false, why: error.message };
        throw error;
      }
    },
  };
}

type Invoke = (call: PluginCall) => Promise<string>;

async function addChain(
  config: NetworkConfig,
  request: NetworkRequest,
  args: string,
  invoke: Invoke,
): Promise<CniResult> {
  let prevResult: CniResult | undefined;
  for (const plugin of config.plugins) {
    const stdout = await invoke({
      command: "ADD",
      plugin: plugin.type,
      containerId: request.podId,
      netnsPath: request.netnsPath,
      ifName: INTERFACE_NAME,
      args,
      stdin: executionConfig(config, plugin, request, prevResult),
    });
    prevResult = parseResult(plugin.type, stdout, config.cniVersion);
  }
  if (prevResult === undefined) throw new Error("a configuration has at least one plugin");
  return prevResult;
}

/** In reverse order; ends at the first failure, so that an address is not given back while ports still lead to it. */
async function delChain(record: CachedAttachment, invoke: Invoke): Promise<void> {
  const prevResult = record.at === "attached" && knowsCheck(record.config.cniVersion) ? record.result : undefined;
  const netnsPath = (await isNetns(record.request.netnsPath)) ? record.request.netnsPath : "";
  for (const call of callsOf("DEL", record, prevResult).toReversed()) await invoke({ ...call, netnsPath });
}

function callsOf(
  command: "DEL" | "CHECK",
  { config, request }: CachedAttachment,
  prevResult: CniResult | undefined,
): PluginCall[] {
  return config.plugins.map((plugin) => ({
    command,
    plugin: plugin.type,
    containerId: request.podId,
    netnsPath: request.netnsPath,
    ifName: INTERFACE_NAME,
    args: cniArgs(request),
    stdin: executionConfig(config, plugin, request, prevResult),
  }));
}

async function describe(
  run: Run,
  config: NetworkConfig,
  { netnsPath }: NetworkRequest,
  result: CniResult,
  signal: AbortSignal,
): Promise<Attachment> {
  const plugin = config.plugins.at(-1)?.type ?? "";
  try {
    const link = await readInterface(run, netnsPath, INTERFACE_NAME, signal);
    const routes = result.routes.length > 0 ? [] : await readRoutes(run, netnsPath, INTERFACE_NAME, signal);
    const names = { network: config.name, interfaceName: INTERFACE_NAME };
    return toAttachment(plugin, result, names, { ...link, routes });
  } catch (error) {
    if (!(error instanceof VmletError) || error.failure.code !== "TOOL_FAILED") throw error;
    throw pluginFailed(plugin, `ADD succeeded but ${INTERFACE_NAME} cannot be read: ${error.message}`, 0, {
      cause: error,
    });
  }
}

async function isNetns(path: string): Promise<boolean> {
  try {
    return (await statfs(path)).type === NSFS_MAGIC;
  } catch {
    return false;
  }
}
