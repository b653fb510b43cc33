// vmlet doctor: what this node lacks for machines, and how to mend it.

import type { Command } from "commander";
import { DEFAULT_CONFIG_PATH, loadConfig } from "../config/load.ts";
import { examine } from "../doctor/examine.ts";
import type { Finding } from "../doctor/finding.ts";
import { thisNode } from "../doctor/node.ts";
import { printable } from "../lib/printable.ts";
import { CliFailure } from "./failure.ts";
import { type Io, json } from "./io.ts";

interface Options {
  readonly config?: string;
  readonly json?: boolean;
}

export function addDoctor(program: Command, io: Io): void {
  program
    .command("doctor")
    .description("Look at this node: what machines need, what is missing, how to mend it")
    .option("--config <path>", `configuration file (default: ${DEFAULT_CONFIG_PATH} if it exists)`)
    .option("--json", "an object a line")
    .action(async (options: Options) => await doctor(options, io));
}

async function doctor({ config: configPath, json: asJson }: Options, { stdout, signal }: Io): Promise<void> {
  const config = await loadConfig(configPath === undefined ? { overrides: [] } : { configPath, overrides: [] });
  let errors = 0;
  for await (const finding of examine(thisNode, config, signal)) {
    stdout.write(asJson === true ? json(finding) : textOf(finding));
    if (finding.level === "error") errors += 1;
  }
  if (errors > 0) throw new CliFailure(`${errors} to mend before machines run here`);
}

const SIGN: Readonly<Record<Finding["level"], string>> = { ok: "ok  ", warning: "WARN", error: "BAD " };

function textOf({ about, level, what, remedy }: Finding): string {
  const line = `${SIGN[level]}  ${about.padEnd(9)} ${printable(what)}\n`;
  return remedy === undefined ? line : `${line}      ${" ".repeat(9)} mend: ${printable(remedy)}\n`;
}
