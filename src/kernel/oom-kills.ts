// Whom the kernel ended for want of memory, as its own log says.

import { closeSync, constants, openSync, readSync } from "node:fs";
import { errorCodeOf } from "../lib/error-code.ts";

const LOG_PATH = "/dev/kmsg";
/** The kernel's own limit. */
const RECORD_MAX_BYTES = 8192;
/** More than a log of 16 MiB has. */
const RECORDS_MAX = 200_000;

/**
 * Reads the whole log, some milliseconds: asked only of processes that ended as they should not. False also when the
 * log cannot be read, or no longer goes back that far.
 * @see Documentation/ABI/testing/dev-kmsg in Linux
 */
export function wasKilledForMemory(pid: number, logPath = LOG_PATH): boolean {
  const line = new RegExp(`Killed process ${pid} \\(`);
  try {
    return records(logPath).some((record) => line.test(record));
  } catch {
    return false;
  }
}

/** One read is one record; at the end of the log there is nothing to wait for. */
function* records(logPath: string): Generator<string, void> {
  const file = openSync(logPath, constants.O_RDONLY | constants.O_NONBLOCK);
  try {
    const buffer = Buffer.alloc(RECORD_MAX_BYTES);
    for (let read = 0; read < RECORDS_MAX; read++) {
      try {
        const bytes = readSync(file, buffer);
        if (bytes === 0) return;
        yield buffer.toString("latin1", 0, bytes);
      } catch (error) {
        if (errorCodeOf(error) === "EAGAIN") return;
        if (errorCodeOf(error) !== "EPIPE") throw error; // EPIPE: it was overwritten before we came to it
      }
    }
  } finally {
    closeSync(file);
  }
}
