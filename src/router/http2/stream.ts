// One call on an HTTP/2 connection, seen from either end.

import { Incoming } from "./incoming.ts";
import { type Carrier, Outgoing } from "./outgoing.ts";

export interface StreamCarrier extends Carrier {
  /** The peer may send so much more. */
  readonly allow: (bytes: number) => void;
  readonly sendReset: (code: number) => void;
}

/** INVARIANTS: once it has failed nothing is sent or taken any more, and whoever waits is told. */
export class Stream {
  readonly incoming: Incoming;
  readonly outgoing: Outgoing;
  readonly #carrier: StreamCarrier;
  #onFailure: ((error: Error) => void) | undefined;
  #failure: Error | undefined;

  constructor(sendWindowBytes: number, carrier: StreamCarrier) {
    this.#carrier = carrier;
    this.incoming = new Incoming(carrier.allow);
    this.outgoing = new Outgoing(sendWindowBytes, carrier);
  }

  /** Both ways to their ends, or failed. */
  get isOver(): boolean {
    return this.#failure !== undefined || (this.incoming.hasEnded && this.outgoing.hasEnded);
  }

  /** Called where the peer or the connection goes away before both ends have come; not by `reset`. */
  onFailure(listener: (error: Error) => void): void {
    this.#onFailure = listener;
  }

  /** We want no more of it. Whoever reads or writes gets `reason`. */
  reset(code: number, reason: Error): void {
    if (this.isOver) return;
    this.#end(reason);
    this.#carrier.sendReset(code);
  }

  /** The peer wants no more of it, or is gone. */
  fail(error: Error): void {
    if (this.isOver) return;
    this.#end(error);
    this.#onFailure?.(error);
  }

  #end(error: Error): void {
    this.#failure = error;
    this.incoming.fail(error);
    this.outgoing.fail(error);
  }
}
