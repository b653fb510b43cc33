// Asks a silent libvirtd whether it is still there, and says so when it is not. Protocol: virkeepaliveprotocol.x.

export interface KeepaliveOptions {
  /** Milliseconds between two questions. */
  readonly intervalMs: number;
  /** Intervals without a byte from the other side until it counts as dead. */
  readonly missesAllowed: number;
}

export class Keepalive implements Disposable {
  readonly #timer: NodeJS.Timeout;
  #heard = true;
  #misses = 0;

  constructor(options: KeepaliveOptions, parts: { ping: () => void; dead: () => void }) {
    this.#timer = setInterval(() => {
      this.#misses = this.#heard ? 0 : this.#misses + 1;
      this.#heard = false;
      if (this.#misses > options.missesAllowed) parts.dead();
      else parts.ping();
    }, options.intervalMs);
    this.#timer.unref();
  }

  /** Anything at all came from the other side. */
  heard(): void {
    this.#heard = true;
  }

  [Symbol.dispose](): void {
    clearInterval(this.#timer);
  }
}
