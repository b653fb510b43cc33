// vmlet ps: the machines of this node, and which pods they are.

import type { Command } from "commander";
import type { Machine } from "../gen/vmlet.ts";
import { printable } from "../lib/printable.ts";
import { addDaemonOptions, connect, type DaemonOptions } from "./daemon-options.ts";
import { durationText, shortId } from "./format.ts";
import { type Io, json } from "./io.ts";
import { table } from "./table.ts";

interface Options extends DaemonOptions {
  readonly all?: boolean;
  readonly json?: boolean;
  readonly quiet?: boolean;
  /** commander's spelling of --no-trunc. */
  readonly trunc: boolean;
}

export function addPs(program: Command, io: Io): void {
  const command = program
    .command("ps")
    .description("List virtual machines and the pods that they are")
    .option("-a, --all", "exited ones too")
    .option("--json", "one JSON array")
    .option("--no-trunc", "whole ids")
    .option("-q, --quiet", "print ids only");
  addDaemonOptions(command).action(async (options: Options) => await ps(options, io));
}

async function ps(options: Options, { stdout, signal }: Io): Promise<void> {
  using daemon = await connect(options, signal);
  const machines = (await daemon.listMachines(signal))
    .filter(({ state }) => options.all === true || state !== "exited")
    .toSorted((one, other) => Number(other.createdAtMs - one.createdAtMs));
  if (options.json === true) return void stdout.write(json(machines, 2));
  const idOf = (id: string): string => (options.trunc ? shortId(id) : id);
  if (options.quiet === true)
    return void stdout.write(machines.map(({ machineId }) => `${printable(idOf(machineId))}\n`).join(""));
  const nowMs = Date.now();
  const heads = ["ID", "POD", "NAMESPACE", "CONTAINER", "STATE", "IP", "DOMAIN", "AGE"];
  stdout.write(
    table(
      heads,
      machines.map((machine) => row(machine, idOf(machine.machineId), nowMs)),
    ),
  );
}

function row(machine: Machine, id: string, nowMs: number): readonly string[] {
  const { podName, podNamespace, name, ips, domainName, createdAtMs } = machine;
  const age = durationText(nowMs - Number(createdAtMs));
  return [id, podName, podNamespace, name, stateText(machine), ips[0] ?? "", domainName, age];
}

function stateText({ state, exitCode, condition }: Machine): string {
  const base = exitCode === undefined ? state : `${state} (${exitCode})`;
  return condition === "" ? base : `${base}: ${condition}`;
}
