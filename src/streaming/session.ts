// A client's session, whatever carries it. SPDY and WebSocket make these; exec, attach and port-forward use them.

import type { Duplex } from "node:stream";
import type { GuestStreams } from "../ports/guest-exec.ts";

/** How an exec or attach ended. */
export type Outcome = { readonly exitCode: number } | { readonly error: unknown };

/** One exec or attach. */
export interface CommandSession {
  readonly streams: GuestStreams;
  /** Aborted when the client is gone. */
  readonly gone: AbortSignal;
  /** Ends the streams, tells the outcome, says goodbye. Resolves when that was sent or the client is gone. */
  finish(outcome: Outcome): Promise<void>;
}

/** One connection to one port. Never throws at its user: what is wrong with it shows in `data`. */
export interface ForwardPair {
  readonly port: number;
  readonly data: Duplex;
  /** Ends it; with a message, the client is told why. */
  end(message?: string): void;
}

/** One port-forward. Ends when the client goes. */
export interface ForwardSession {
  readonly gone: AbortSignal;
  /** Says goodbye to the client and drops all pairs. */
  close(): void;
}

export type OnPair = (pair: ForwardPair) => void;

/** Limits of every session. */
export interface SessionOptions {
  /** Without a byte either way for this long it is over. */
  readonly idleMs: number;
  /** A client has this long to open the streams that it asked for. */
  readonly creationMs: number;
}
