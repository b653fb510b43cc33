// How a process is told to stop: politely once, then for good.

import { constants } from "node:os";

const STOP_SIGNALS = ["SIGTERM", "SIGINT", "SIGHUP"] as const;

/** Aborts at the first stop signal, after `onFirst`; the second ends the process at once, with 128 + its number. */
export function stopSignal(onFirst: (name: NodeJS.Signals) => void): AbortSignal {
  const controller = new AbortController();
  for (const name of STOP_SIGNALS) {
    process.on(name, () => {
      if (controller.signal.aborted) process.exit(128 + constants.signals[name]);
      onFirst(name);
      controller.abort();
    });
  }
  return controller.signal;
}
