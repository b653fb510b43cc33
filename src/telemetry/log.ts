// The log: JSON lines, one object each, on stderr.

import pino from "pino";
import { escapeInvisible } from "../lib/printable.ts";
import type { LogFields, Logger } from "../ports/logger.ts";
import { loggable } from "./loggable.ts";

export interface LogOptions {
  readonly level: "error" | "warn" | "info" | "debug";
  /** Takes one whole line with its newline. Default: stderr, written before the call returns. */
  readonly write?: (line: string) => void;
}

/**
 * Lines look like `{"level":"info","time":"2026-01-02T03:04:05.678Z","part":"cni","msg":"…", fields}`. A field whose
 * name is one of those four gets a `_` behind it. Values may be anything; nothing in them can end the line, forge a
 * second one, or reach a terminal as a control sequence.
 */
export function createLogger({ level, write }: LogOptions): Logger {
  const put = write ?? toStderr();
  const root = pino(
    {
      level,
      base: null,
      timestamp: pino.stdTimeFunctions.isoTime,
      formatters: { level: (label) => ({ level: label }) },
    },
    { write: (line: string) => put(escapeInvisible(line)) },
  );
  return wrap(root);
}

function toStderr(): (line: string) => void {
  const stream = pino.destination({ fd: 2, sync: true });
  return (line) => void stream.write(line);
}

function wrap(target: pino.Logger): Logger {
  return {
    error: (message, fields) => target.error(cleaned(fields), message),
    warn: (message, fields) => target.warn(cleaned(fields), message),
    info: (message, fields) => target.info(cleaned(fields), message),
    debug: (message, fields) => {
      if (target.isLevelEnabled("debug")) target.debug(cleaned(fields), message);
    },
    child: (part) => wrap(target.child({ part })),
  };
}

const OWN_KEYS: ReadonlySet<string> = new Set(["level", "time", "part", "msg"]);

function cleaned(fields: LogFields | undefined): Record<string, unknown> {
  const entries = Object.entries(fields ?? {}).map(([key, value]) => [
    OWN_KEYS.has(key) ? `${key}_` : key,
    loggable(value),
  ]);
  return Object.fromEntries(entries);
}
