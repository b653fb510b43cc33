// Connections that are not sessions yet. Whoever reaches the port may make them, without a token: they are few, and the
// oldest makes room, so that a crowd which only stands there keeps nobody out.

import type { Socket } from "node:net";

/** A client asks within milliseconds after it connected; no node has this many at once that are about to. */
const MAX_WAITING = 256;

export class Door {
  /** In the order in which they came. */
  readonly #waiting = new Map<string, Socket>();

  /** A connection that was made. */
  enter(socket: Socket): void {
    const name = nameOf(socket);
    this.#waiting.set(name, socket);
    socket.once("close", () => this.#waiting.delete(name));
    for (const [oldest, waiting] of this.#waiting) {
      if (this.#waiting.size <= MAX_WAITING) return;
      this.#waiting.delete(oldest);
      waiting.destroy();
    }
  }

  /** It had a token, or is told that it has none. With TLS this is the stream in it. */
  pass(socket: Socket): void {
    this.#waiting.delete(nameOf(socket));
  }
}

/** A connection's and its TLS stream's are the same. */
function nameOf({ remoteAddress, remotePort }: Socket): string {
  return `${remoteAddress} ${remotePort}`;
}
