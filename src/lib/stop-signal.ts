// How a process is told to stop: politely once, then for good.

import { constants } from "node:os";

const STOP_SIGNALS = ["SIGTERM", "SIGINT", "SIGHUP"] as const;

/** Why a signal of `stopSignal` is aborted: an abort like any other. */
export class Stopped extends DOMException {
  /** What a shell expects. */
  readonly exitCode: number;

  constructor(name: NodeJS.Signals) {
    super(`stopped by ${name}`, "AbortError");
    this.exitCode = 128 + constants.signals[name];
  }
}

/** Aborts at the first stop signal, after `onFirst`; the second ends the process at once, with 128 + its number. */
export function stopSignal(onFirst: (name: NodeJS.Signals) => void): AbortSignal {
  const controller = new AbortController();
  for (const name of STOP_SIGNALS) {
    process.on(name, () => {
      const stopped = new Stopped(name);
      if (controller.signal.aborted) process.exit(stopped.exitCode);
      onFirst(name);
      controller.abort(stopped);
    });
  }
  return controller.signal;
}
