// A process that serves until it is told to stop: configuration, log, signals.

import { flushCompileCache } from "node:module";
import { type ConfigSource, loadConfig } from "./config/load.ts";
import { redact } from "./config/redact.ts";
import type { Config } from "./config/schema.ts";
import { stopSignal } from "./lib/stop-signal.ts";
import type { Logger } from "./ports/logger.ts";
import { createLogger } from "./telemetry/log.ts";

/** Resolves when it serves; disposing what it gives ends that. */
export type Start = (config: Config, log: Logger, signal: AbortSignal) => Promise<AsyncDisposable>;

export interface Process {
  readonly what: "serve" | "router";
  readonly version: string;
  readonly source: ConfigSource;
}

/** Runs what `start` starts until a signal says stop. */
export async function runUntilStopped({ what, version, source }: Process, start: Start): Promise<void> {
  const config = await loadConfig(source);
  const log = createLogger({ level: config.logLevel });
  // Our own memory is in doubt after either: the next start rebuilds it.
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
  log.info("starting", { what, version, pid: process.pid, config: redact(config) });
  try {
    await using _started = await start(config, log, signal);
    flushCompileCache(); // a daemon that is killed would never save it
    globalThis.gc?.({ type: "major", execution: "sync", flavor: "last-resort" }); // what only starting needed, for good
    const { socketPath } = what === "router" ? config.router : config;
    log.info("serving", { socket: socketPath });
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
