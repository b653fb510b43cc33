// Decides from what a download waits for whether another connection would make it faster.

/** A connection more must bring so much. */
const WORTHWHILE = 1.15;

/** One download's. All times are measured, not the wall clock's. */
export class Pace {
  readonly #periodMs: number;
  #sinceMs = performance.now();
  #waitedMs = 0;
  #bytes = 0;
  /** With the connections before the last one was added; 0: none was. */
  #bytesPerMsBefore = 0;
  #isStopped = false;

  /** @param periodMs How long is measured before something is decided. */
  constructor(periodMs: number) {
    this.#periodMs = periodMs;
  }

  /** Counts the time until `promise` settles as waiting for the source. */
  async waiting<T>(promise: Promise<T>): Promise<T> {
    const fromMs = performance.now();
    try {
      return await promise;
    } finally {
      this.#waitedMs += performance.now() - fromMs;
    }
  }

  got(bytes: number): void {
    this.#bytes += bytes;
  }

  stop(): void {
    this.#isStopped = true;
  }

  /** True, at most once a period: add a connection now. */
  wantsMore(): boolean {
    const tookMs = performance.now() - this.#sinceMs;
    if (this.#isStopped || tookMs < this.#periodMs) return false;
    const bytesPerMs = this.#bytes / tookMs;
    const isSourceSlow = this.#waitedMs > tookMs / 2;
    this.#sinceMs = performance.now();
    this.#waitedMs = 0;
    this.#bytes = 0;
    if (!isSourceSlow) return false;
    if (bytesPerMs < this.#bytesPerMsBefore * WORTHWHILE) {
      this.#isStopped = true;
      return false;
    }
    this.#bytesPerMsBefore = bytesPerMs;
    return true;
  }
}
