// vmlet version: of this program, and of the daemon.

import type { Command } from "commander";
import { printable } from "../lib/printable.ts";
import { addDaemonOptions, connect, type DaemonOptions } from "./daemon-options.ts";
import { type Io, json } from "./io.ts";

interface Options extends DaemonOptions {
  readonly json?: boolean;
}

export function addVersion(program: Command, own: string, io: Io): void {
  const command = program
    .command("version")
    .description("Print the version of this program, and of the daemon")
    .option("--json", "one JSON object");
  addDaemonOptions(command).action(async (options: Options) => await version(own, options, io));
}

async function version(own: string, options: Options, { stdout, signal }: Io): Promise<void> {
  if (options.json !== true) stdout.write(`vmlet    ${own}\n`); // also where no daemon answers
  using daemon = await connect(options, signal);
  const { runtimeVersion, runtimeApiVersion } = await daemon.version(signal);
  const { socketPath } = daemon;
  if (options.json === true)
    return void stdout.write(
      json({ version: own, daemon: { version: runtimeVersion, runtimeApiVersion, socketPath } }, 2),
    );
  stdout.write(
    `daemon   ${printable(runtimeVersion)}, CRI ${printable(runtimeApiVersion)}, on ${printable(socketPath)}\n`,
  );
}
