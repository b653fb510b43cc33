// argv, signals, exit code.

import { flushCompileCache } from "node:module";
import { terminalIo } from "./cli/io.ts";
import { createProgram } from "./cli/program.ts";
import { type ConfigSource, loadConfig } from "./config/load.ts";
import { redact } from "./config/redact.ts";
import { Stopped, stopSignal } from "./lib/stop-signal.ts";
import { vmletVersion } from "./lib/version.ts";
import { createLogger } from "./telemetry/log.ts";

const version = vmletVersion();

async function serve(source: ConfigSource): Promise<void> {
  const { startDaemon } = await import("./daemon.ts"); // commands for people do without all of it
  const config = await loadConfig(source);
  const log = createLogger({ level: config.logLevel });
  // Our own memory is in doubt after either: the next start rebuilds it from records and libvirt.
  process.on("unhandledRejection", (error) => {
    log.error("unhandled rejection", { error });
    process.exit(1);
  });
  process.on("uncaughtException", (error) => {
    log.error("uncaught exception", { error });
    process.exit(1);
  });
  setInterval(() => {}, 2 ** 30); // waiting for a signal does not keep a process alive
  const signal = stopSignal((name) => log.info("stopping", { signal: name }));
  log.info("starting", { version, pid: process.pid, config: redact(config) });
  try {
    await using _daemon = await startDaemon(config, log, signal);
    flushCompileCache(); // a daemon that is killed would never save it
    log.info("serving", { socket: config.socketPath });
    if (!signal.aborted) await new Promise((resolve) => signal.addEventListener("abort", resolve, { once: true }));
  } catch (error) {
    if (!signal.aborted || error !== signal.reason) {
      log.error("daemon failed", { error });
      process.exit(1);
    }
    // Otherwise: told to stop while starting, and that is no failure.
  }
  log.info("stopped");
}

try {
  await createProgram(version, { serve }, terminalIo()).parseAsync();
  process.exit(0); // nothing may keep a finished program alive
} catch (error) {
  if (error instanceof Stopped) process.exit(error.exitCode);
  process.stderr.write(`vmlet: ${error instanceof Error ? error.message : String(error)}\n`);
  process.exit(1);
}
