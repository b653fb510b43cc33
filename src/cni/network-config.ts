// The network configuration of the node: which file counts, and what it says.

import { open, readdir } from "node:fs/promises";
import { join } from "node:path";
import { z } from "zod";
import { isSystemError, notConfigured } from "./errors.ts";

/** Oldest first. */
export const CNI_VERSIONS = ["0.3.0", "0.3.1", "0.4.0", "1.0.0", "1.1.0"] as const;
export type CniVersion = (typeof CNI_VERSIONS)[number];

/** CHECK, and prevResult on DEL, came with 0.4.0. */
export const knowsCheck = (version: CniVersion): boolean => version !== "0.3.0" && version !== "0.3.1";

/** One plugin's part: `type`, `capabilities` and whatever else the plugin understands. */
const pluginConfigSchema = z.looseObject({
  // It becomes a file name in the plugin folders.
  type: z.string().regex(/^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$/, "must be a plain file name"),
  capabilities: z.record(z.string(), z.boolean()).optional(),
});
export type PluginConfig = z.infer<typeof pluginConfigSchema>;

export const networkConfigSchema = z.object({
  name: z.string().regex(/^[A-Za-z0-9][A-Za-z0-9_.-]{0,127}$/, "must be letters, digits, _ . or -"),
  cniVersion: z.enum(CNI_VERSIONS),
  disableCheck: z.boolean(),
  plugins: z.array(pluginConfigSchema).min(1).max(32),
});
export type NetworkConfig = z.infer<typeof networkConfigSchema>;

// Old configurations spell booleans as text too.
const bool = z.union([z.boolean(), z.enum(["true", "false"]).transform((text) => text === "true")]);
const versionsSchema = z.object({ cniVersion: z.string().optional(), cniVersions: z.array(z.string()).optional() });
const listSchema = networkConfigSchema.pick({ name: true, plugins: true }).extend({
  disableCheck: bool.default(false),
});

const MAX_CONFIG_BYTES = 1 << 20;

/**
 * The first configuration by file name. A broken first file is an error, not a reason to try the next: a pod on the
 * wrong network is worse than a pod that waits.
 * @throws NETWORK_NOT_CONFIGURED naming the folder or the file and what is wrong with it.
 */
export async function loadNetworkConfig(folderPath: string): Promise<NetworkConfig> {
  const fileName = (await namesIn(folderPath)).filter((name) => /\.(conflist|conf|json)$/.test(name)).toSorted()[0];
  if (fileName === undefined) {
    throw notConfigured(folderPath, `no CNI configuration in ${folderPath}; install a network plugin`);
  }
  const path = join(folderPath, fileName);
  try {
    return parseNetworkConfig(JSON.parse(await readCapped(path)));
  } catch (error) {
    throw notConfigured(folderPath, `CNI configuration ${path}: ${reasonOf(error)}`);
  }
}

/** A list as it is; a single plugin's configuration as a list of one. */
export function parseNetworkConfig(json: unknown): NetworkConfig {
  const { cniVersion, cniVersions } = versionsSchema.parse(json);
  const version = newestKnown([...(cniVersions ?? []), ...(cniVersion === undefined ? [] : [cniVersion])]);
  if (hasPlugins(json)) return { ...listSchema.parse(json), cniVersion: version };
  const plugin = pluginConfigSchema.parse(json);
  const { name } = networkConfigSchema.pick({ name: true }).parse(json);
  return { name, cniVersion: version, disableCheck: false, plugins: [plugin] };
}

function hasPlugins(json: unknown): boolean {
  return typeof json === "object" && json !== null && "plugins" in json;
}

function newestKnown(offered: readonly string[]): CniVersion {
  const version = CNI_VERSIONS.findLast((known) => offered.includes(known));
  if (version !== undefined) return version;
  throw new Error(`cniVersion: ${offered.join(", ") || "missing"}; known: ${CNI_VERSIONS.join(", ")}`);
}

async function namesIn(folderPath: string): Promise<string[]> {
  try {
    return await readdir(folderPath);
  } catch (error) {
    if (isSystemError(error, "ENOENT")) return [];
    throw notConfigured(folderPath, `CNI configuration folder ${folderPath}: ${reasonOf(error)}`);
  }
}

/** Text of a regular file of sane size. */
export async function readCapped(path: string, maxBytes = MAX_CONFIG_BYTES): Promise<string> {
  await using file = await open(path, "r");
  const { size } = await file.stat();
  if (size > maxBytes) throw new Error(`${size} bytes, at most ${maxBytes}`);
  return await file.readFile("utf8");
}

export function reasonOf(error: unknown): string {
  if (error instanceof z.ZodError) {
    return error.issues.map((issue) => `${issue.path.join(".") || "file"}: ${issue.message}`).join("; ");
  }
  return error instanceof Error ? error.message : String(error);
}
