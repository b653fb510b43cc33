// A log that keeps what it is told.

import type { LogFields, Logger } from "../../src/ports/logger.ts";

interface LogLine {
  readonly level: "error" | "warn" | "info" | "debug";
  readonly message: string;
  readonly fields: LogFields;
}

export interface KeptLog extends Logger {
  readonly lines: readonly LogLine[];
}

export function keptLog(): KeptLog {
  const lines: LogLine[] = [];
  const at =
    (level: LogLine["level"]) =>
    (message: string, fields: LogFields = {}): void =>
      void lines.push({ level, message, fields });
  const log: KeptLog = {
    lines,
    error: at("error"),
    warn: at("warn"),
    info: at("info"),
    debug: at("debug"),
    child: () => log,
  };
  return log;
}
