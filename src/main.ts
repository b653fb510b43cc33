// argv and exit code; what is run for good, and the commands for people, are loaded when they are asked for.

import type { Command } from "commander";
import { createProgram } from "./cli/program.ts";
import type { ConfigSource } from "./config/load.ts";
import { Stopped } from "./lib/stop-signal.ts";
import { vmletVersion } from "./lib/version.ts";
import { runUntilStopped, type Start } from "./run.ts";

const version = vmletVersion();

const serve: Start = async (config, log, signal) => {
  const { startDaemon } = await import("./daemon.ts"); // commands for people do without all of it
  return await startDaemon(config, log, signal);
};

const router: Start = async (config, log) => {
  const { startRouter } = await routerModule();
  const { prefixes } = config.images.registry;
  return await startRouter(
    { ...config.router, machinesSocketPath: config.socketPath, registryPrefixes: prefixes, version },
    log,
  );
};

const routerModule = async (): Promise<typeof import("./router/router.ts")> => await import("./router/router.ts");

const addPeoplesCommands = async (program: Command): Promise<void> => {
  const [{ addCommands }, { terminalIo }] = await Promise.all([import("./cli/commands.ts"), import("./cli/io.ts")]);
  addCommands(program, version, terminalIo());
};

try {
  if (process.env["VMLET_COMPILE"] === "1") {
    await routerModule(); // for the cache alone: see bin/vmlet
    process.exit(0);
  }
  const verbs = {
    serve: async (source: ConfigSource) => await runUntilStopped({ what: "serve", version, source }, serve),
    router: async (source: ConfigSource) => await runUntilStopped({ what: "router", version, source }, router),
  };
  const program = createProgram(version, verbs);
  if (!Object.hasOwn(verbs, process.argv[2] ?? "")) await addPeoplesCommands(program);
  await program.parseAsync();
  process.exit(0); // nothing may keep a finished program alive
} catch (error) {
  if (error instanceof Stopped) process.exit(error.exitCode);
  process.stderr.write(`vmlet: ${error instanceof Error ? error.message : String(error)}\n`);
  process.exit(1);
}
