// The command line: its verbs that serve, and their flags. What serving is is given from outside.

import { Command, Option } from "commander";
import { type ConfigSource, DEFAULT_CONFIG_PATH, type Override } from "../config/load.ts";
import { flagOf, listSettings, type Setting } from "../config/reference.ts";

/** What the router reads of the configuration, beside the prefixes of registries. */
const ROUTER_SETTINGS = new Set(["router", "socketPath", "logLevel"]);

export interface Verbs {
  readonly serve: (source: ConfigSource) => Promise<void>;
  readonly router: (source: ConfigSource) => Promise<void>;
}

export function createProgram(version: string, verbs: Verbs): Command {
  const program = new Command("vmlet")
    .description("A Kubernetes container runtime whose containers are virtual machines")
    .version(version)
    .showHelpAfterError();
  const settings = listSettings().filter((setting) => setting.isScalar);
  addDaemon(
    program
      .command("serve")
      .description("Serve CRI on a unix socket until SIGTERM or SIGINT; machines go on without it"),
    settings.filter(({ path }) => path[0] !== "router"),
    verbs.serve,
  );
  addDaemon(
    program
      .command("router")
      .description(
        "Stand between the kubelet and two runtimes: machines to vmlet, everything else to containerd or CRI-O",
      ),
    settings.filter(({ path: [section = ""] }) => ROUTER_SETTINGS.has(section)),
    verbs.router,
  );
  return program;
}

/** Every setting that is one value has a flag. */
function addDaemon(command: Command, settings: readonly Setting[], run: (source: ConfigSource) => Promise<void>): void {
  command.option("--config <path>", `configuration file (default: ${DEFAULT_CONFIG_PATH} if it exists)`);
  const options = new Map<Option, Setting>();
  for (const setting of settings) {
    const option = optionOf(setting);
    options.set(option, setting);
    command.addOption(option);
  }
  command.action(async (given: Readonly<Record<string, unknown>>) => {
    const overrides = [...options].flatMap(([option, setting]): Override[] => {
      const value = given[option.attributeName()];
      return value === undefined ? [] : [{ flag: flagOf(setting), path: setting.path, value: valueOf(setting, value) }];
    });
    const configPath = given["config"];
    await run(typeof configPath === "string" ? { configPath, overrides } : { overrides });
  });
}

function optionOf(setting: Setting): Option {
  const fallback = setting.fallback === undefined ? "" : ` (default: ${JSON.stringify(setting.fallback)})`;
  const option = new Option(`${flagOf(setting)} <value>`, setting.doc + fallback);
  if (setting.kind === "boolean") return option.choices(["true", "false"]);
  return setting.choices === undefined ? option : option.choices([...setting.choices]);
}

/** A flag is text; the schema wants what YAML would have made of it. */
function valueOf(setting: Setting, value: unknown): unknown {
  if (setting.kind === "boolean") return value === "true";
  if (setting.kind === "integer" && typeof value === "string" && /^\d{1,15}$/.test(value)) return Number(value);
  return value;
}
