// What a connection sends: gathered while one thing is done, then given to the socket at once.

import type { Socket } from "node:net";

/** Up to this it is cheaper to copy the parts together than to hand them over one by one. */
const SMALL_BYTES = 1 << 14;
/** Beyond this, messages wait until the peer has read some of it. */
const FULL_BYTES = 1 << 20;
/** What is not messages cannot wait: a peer that makes us answer without ever reading must go. */
const MAX_BYTES = 2 << 20;

export interface OutboxOptions {
  /** The peer makes us answer and reads nothing of it. */
  readonly onOverflow: () => void;
  /** All that was pushed so far is the socket's. */
  readonly onSent: () => void;
}

export class Outbox {
  readonly #socket: Socket;
  readonly #options: OutboxOptions;
  #gathered: Buffer[] = [];
  #gatheredBytes = 0;
  #isDue = false;

  constructor(socket: Socket, options: OutboxOptions) {
    this.#socket = socket;
    this.#options = options;
  }

  /** Whether messages must wait for the socket's `drain`. */
  get isFull(): boolean {
    return this.#gatheredBytes + this.#socket.writableLength >= FULL_BYTES;
  }

  push(...parts: readonly Buffer[]): void {
    if (!this.#isDue) process.nextTick(() => this.flush()); // after whatever runs now, promises included
    this.#isDue = true;
    this.#gather(parts);
  }

  /** What nobody waits for: it goes with what is pushed next, or when all that has come is read. */
  pushLater(...parts: readonly Buffer[]): void {
    if (this.#gathered.length === 0) setImmediate(() => this.flush());
    this.#gather(parts);
  }

  flush(): void {
    const [gathered, bytes] = [this.#gathered, this.#gatheredBytes];
    this.#gathered = [];
    this.#gatheredBytes = 0;
    this.#isDue = false;
    if (gathered.length === 0 || !this.#socket.writable) return;
    if (bytes <= SMALL_BYTES) this.#socket.write(Buffer.concat(gathered, bytes));
    else {
      this.#socket.cork();
      for (const part of gathered) this.#socket.write(part);
      this.#socket.uncork();
    }
    if (this.#socket.writable) this.#options.onSent(); // a peer that has gone fails a write at once, and all of it
  }

  #gather(parts: readonly Buffer[]): void {
    for (const part of parts) {
      this.#gathered.push(part);
      this.#gatheredBytes += part.length;
    }
    if (this.#gatheredBytes + this.#socket.writableLength > MAX_BYTES) this.#options.onOverflow();
  }
}
