// How late timers run: the time that anything else, a list call for instance, would have waited too.

const INTERVAL_MS = 100;

/** Costs a wake-up every 100 ms, so it begins only when it is asked to. */
export class EventLoopWatch {
  readonly #observe: (delaySeconds: number) => void;
  #timer: NodeJS.Timeout | undefined;

  constructor(observe: (delaySeconds: number) => void) {
    this.#observe = observe;
  }

  /** Begun already: no change. It keeps no process alive. */
  begin(): void {
    if (this.#timer !== undefined) return;
    let lastMs = performance.now();
    this.#timer = setInterval(() => {
      const nowMs = performance.now();
      this.#observe(Math.max(0, nowMs - lastMs - INTERVAL_MS) / 1000);
      lastMs = nowMs;
    }, INTERVAL_MS).unref();
  }
}
