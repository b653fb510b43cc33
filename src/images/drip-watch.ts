// Notices a source that sends just enough not to stand still.

import type { TransportProfile } from "./options.ts";

/** Counts only the time that the source is waited for. */
export class DripWatch {
  readonly #profile: TransportProfile;
  #resumedAtMs = performance.now();
  #waitedMs = 0;
  #bytes = 0;

  constructor(profile: TransportProfile) {
    this.#profile = profile;
  }

  resume(): void {
    this.#resumedAtMs = performance.now();
  }

  isTooSlow(chunkBytes: number): boolean {
    const { idleTimeoutMs, idleMinBytes } = this.#profile;
    this.#waitedMs += performance.now() - this.#resumedAtMs;
    this.#bytes += chunkBytes;
    if (this.#waitedMs < idleTimeoutMs) return false;
    const isTooSlow = this.#bytes < idleMinBytes;
    this.#waitedMs = 0;
    this.#bytes = 0;
    return isTooSlow;
  }
}
