// The options that every command for people has: where the daemon is.

import type { Command } from "commander";
import { DEFAULT_CONFIG_PATH, loadConfig } from "../config/load.ts";
import { connectDaemon, type DaemonClient } from "./daemon-client.ts";

export interface DaemonOptions {
  readonly socket?: string;
  readonly config?: string;
}

export function addDaemonOptions(command: Command): Command {
  return command
    .option("--socket <path>", "the daemon's socket (default: that of the configuration)")
    .option("--config <path>", `configuration file (default: ${DEFAULT_CONFIG_PATH} if it exists)`);
}

/** The configuration is read only where it is needed. @throws CliFailure CONFIG_INVALID */
export async function connect({ socket, config }: DaemonOptions, signal: AbortSignal): Promise<DaemonClient> {
  if (socket !== undefined) return await connectDaemon(socket, signal);
  const source = config === undefined ? { overrides: [] } : { configPath: config, overrides: [] };
  return await connectDaemon((await loadConfig(source)).socketPath, signal);
}
