// Runs one CNI plugin once: finds it, feeds it, and makes sense of how it ended.

import { constants } from "node:fs";
import { access } from "node:fs/promises";
import { join } from "node:path";
import { z } from "zod";
import { backoff, sleepMs } from "../lib/backoff.ts";
import type { Finished, Run } from "../lib/spawn.ts";
import { isSystemError, pluginFailed } from "./errors.ts";
import { reasonOf } from "./network-config.ts";

export interface PluginCall {
  readonly command: "ADD" | "DEL" | "CHECK";
  /** The plugin's `type`: its file name. */
  readonly plugin: string;
  readonly containerId: string;
  /** Empty only for DEL of a pod whose netns is gone. */
  readonly netnsPath: string;
  readonly ifName: string;
  /** CNI_ARGS. */
  readonly args: string;
  readonly stdin: string;
}

export interface PluginParts {
  readonly run: Run;
  readonly binFolderPaths: readonly string[];
  readonly pluginLimitMs: number;
}

/** A result has a few hundred bytes; this is where we stop reading. */
const MAX_STDOUT_BYTES = 1 << 20;
/** A plugin that is just being replaced on disk can be open for writing for a moment. */
const BUSY_TRIES = 6;

const errorSchema = z.object({
  code: z.int(),
  msg: z.string().default(""),
  details: z.string().default(""),
});

/**
 * What the plugin printed (empty is allowed).
 * @param signal Aborting kills the plugin with its children and rejects with the signal's reason.
 * @throws NETWORK_FAILED naming the plugin, with its own code and words where it gave them.
 * @see CNI SPEC 1.1.0, section 2 "Execution Protocol"
 */
export async function runPlugin(call: PluginCall, parts: PluginParts, signal: AbortSignal): Promise<string> {
  const path = await findPlugin(call.plugin, parts.binFolderPaths);
  const limit = AbortSignal.timeout(parts.pluginLimitMs);
  try {
    return read(call, await runUnlessBusy(path, call, parts, AbortSignal.any([signal, limit])));
  } catch (error) {
    signal.throwIfAborted();
    if (limit.aborted) {
      throw pluginFailed(call.plugin, `${call.command} ran past ${parts.pluginLimitMs} ms and was killed`);
    }
    if (isSystemError(error, "EACCES") || isSystemError(error, "ENOEXEC") || isSystemError(error, "ETXTBSY")) {
      throw pluginFailed(call.plugin, `${path} cannot be run: ${reasonOf(error)}`, 0, { cause: error });
    }
    throw error;
  }
}

/** @throws NETWORK_FAILED when no folder has it. */
export async function findPlugin(plugin: string, binFolderPaths: readonly string[]): Promise<string> {
  for (const folderPath of binFolderPaths) {
    const path = join(folderPath, plugin);
    try {
      await access(path, constants.X_OK);
      return path;
    } catch {
      // The next folder may have it.
    }
  }
  throw pluginFailed(plugin, `no such program in ${binFolderPaths.join(", ")}; install it`);
}

async function runUnlessBusy(
  path: string,
  call: PluginCall,
  { run, binFolderPaths }: PluginParts,
  signal: AbortSignal,
): Promise<Finished> {
  const env = {
    CNI_COMMAND: call.command,
    CNI_CONTAINERID: call.containerId,
    CNI_NETNS: call.netnsPath,
    CNI_IFNAME: call.ifName,
    CNI_ARGS: call.args,
    CNI_PATH: binFolderPaths.join(":"),
  };
  const pauses = backoff({ firstMs: 20, maxMs: 500 });
  for (let tries = 1; ; tries += 1) {
    try {
      return await run(path, [], { env, stdin: call.stdin, maxOutputBytes: MAX_STDOUT_BYTES }, signal);
    } catch (error) {
      if (!isSystemError(error, "ETXTBSY") || tries === BUSY_TRIES) throw error;
      await sleepMs(pauses.next().value, signal);
    }
  }
}

function read({ plugin, command }: PluginCall, finished: Finished): string {
  const stdout = finished.stdout.toString("utf8");
  if (finished.stdout.length >= MAX_STDOUT_BYTES) {
    throw pluginFailed(plugin, `${command} printed more than ${MAX_STDOUT_BYTES} bytes`);
  }
  if (finished.exitCode === 0) return stdout;
  const said = errorSchema.safeParse(parseOr(stdout));
  if (said.success) {
    const { code, msg, details } = said.data;
    throw pluginFailed(
      plugin,
      `${command} failed with code ${code}: ${cut([msg, details].filter(Boolean).join(": "))}`,
      code,
    );
  }
  const how = finished.signalName === null ? `exit code ${finished.exitCode}` : `signal ${finished.signalName}`;
  const words = cut(finished.stderr.trim() || stdout.trim()) || "it printed nothing";
  throw pluginFailed(plugin, `${command} ended with ${how} and no CNI error: ${words}`);
}

function parseOr(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}

/** For messages: no more than a person reads, and no control characters. */
function cut(text: string): string {
  return text.replace(/\p{Cc}+/gu, " ").slice(0, 1000);
}
