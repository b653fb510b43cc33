// argv and exit code; what is run for good is loaded when it is asked for.

import { terminalIo } from "./cli/io.ts";
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
  const { startRouter } = await import("./router/router.ts");
  const { prefixes } = config.images.registry;
  return await startRouter(
    { ...config.router, machinesSocketPath: config.socketPath, registryPrefixes: prefixes, version },
    log,
  );
};

try {
  const verbs = {
    serve: async (source: ConfigSource) => await runUntilStopped({ what: "serve", version, source }, serve),
    router: async (source: ConfigSource) => await runUntilStopped({ what: "router", version, source }, router),
  };
  await createProgram(version, verbs, terminalIo()).parseAsync();
  process.exit(0); // nothing may keep a finished program alive
} catch (error) {
  if (error instanceof Stopped) process.exit(error.exitCode);
  process.stderr.write(`vmlet: ${error instanceof Error ? error.message : String(error)}\n`);
  process.exit(1);
}
