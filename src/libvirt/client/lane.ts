// Connections for one kind of call: bounded calls in flight on each, opened on demand, opened again after a loss.

import { backoff, sleepMs } from "../../lib/backoff.ts";
import { untilAborted } from "../../lib/keyed-lock.ts";
import type { Connection } from "./connection.ts";
import { gone, LibvirtFault } from "./fault.ts";

export interface LaneOptions {
  readonly socketPath: string;
  /** libvirtd reads no more from a connection with 5 calls in work (its max_client_requests), so fewer. */
  readonly callsPerConnection: number;
  /** Calls that hang hold their slots; the lane then grows, up to this. */
  readonly maxConnections: number;
  /** Milliseconds that all slots must be taken before the lane grows. */
  readonly growAfterMs: number;
  /** Milliseconds that a call waits through a loss of libvirtd; after a longer loss it waits for one attempt only. */
  readonly reconnectWaitMs: number;
  /** Connected at all times, or only once there is a call. */
  readonly keepOpen: boolean;
}

export interface LaneParts {
  connect(signal: AbortSignal): Promise<Connection>;
  /** Before the lane's first connection, and the first one after a loss, takes calls. Throwing: tried again. */
  welcome(connection: Connection, about: { readonly isReturn: boolean }): Promise<void>;
}

interface Member {
  readonly connection: Connection;
  inFlight: number;
}

interface Waiter {
  readonly sinceMs: number;
  grant(member: Member): void;
  refuse(fault: unknown): void;
}

const RECONNECT_PAUSES = { firstMs: 25, maxMs: 1_000 };

/** INVARIANTS: a slot is held until libvirt answered or the connection died, even if nobody waits for it any more. */
export class Lane implements Disposable {
  readonly #options: LaneOptions;
  readonly #parts: LaneParts;
  readonly #closing = new AbortController();
  readonly #waiting = new Set<Waiter>();
  #members: Member[] = [];
  #isOpening = false;
  #growTimer: NodeJS.Timeout | undefined;
  /** When the last connection was lost or could first not be made; undefined: never, or it is back. */
  #lostAtMs: number | undefined;

  constructor(options: LaneOptions, parts: LaneParts) {
    this.#options = options;
    this.#parts = parts;
    if (options.keepOpen) void this.#open();
  }

  get connectionCount(): number {
    return this.#members.length;
  }

  get inFlight(): number {
    return this.#members.reduce((sum, { inFlight }) => sum + inFlight, 0);
  }

  /**
   * Waits for a slot, then sends. The answer is wrapped so that waiting for the slot and for the answer stay two things.
   * @throws LibvirtFault `gone` when there is no libvirtd within the wait limit
   */
  async start<T>(
    send: (connection: Connection) => Promise<T>,
    signal: AbortSignal,
  ): Promise<{ readonly answer: Promise<T> }> {
    let member = await this.#slot(signal);
    while (member.connection.isDead) member = await this.#slot(signal);
    const granted = member;
    const answer = send(granted.connection);
    const release = (): void => this.#release(granted);
    answer.then(release, release);
    return { answer };
  }

  [Symbol.dispose](): void {
    const fault = gone(this.#options.socketPath, "we are closing");
    this.#closing.abort(fault);
    clearTimeout(this.#growTimer);
    for (const waiter of this.#waiting) waiter.refuse(fault);
    this.#waiting.clear();
    for (const { connection } of this.#members) connection.close();
  }

  async #slot(signal: AbortSignal): Promise<Member> {
    signal.throwIfAborted();
    this.#closing.signal.throwIfAborted();
    const { promise, resolve, reject } = Promise.withResolvers<Member>();
    let granted: Member | undefined;
    const waiter: Waiter = {
      sinceMs: performance.now(),
      grant: (member) => {
        granted = member;
        member.inFlight++;
        resolve(member);
      },
      refuse: reject,
    };
    this.#waiting.add(waiter);
    this.#pump();
    try {
      return await untilAborted(promise, signal);
    } catch (error) {
      this.#waiting.delete(waiter);
      if (granted) this.#release(granted);
      throw error;
    }
  }

  #release(member: Member): void {
    member.inFlight--;
    const isSpare = member !== this.#members[0] && member.inFlight === 0;
    this.#pump();
    if (isSpare && member.inFlight === 0) {
      this.#members = this.#members.filter((other) => other !== member);
      member.connection.close();
    }
  }

  /** Gives free slots to those who wait, the oldest first; sees to more slots when there are none. */
  #pump(): void {
    for (const waiter of this.#waiting) {
      const free = this.#members.find(({ inFlight }) => inFlight < this.#options.callsPerConnection);
      if (free === undefined) break;
      this.#waiting.delete(waiter);
      waiter.grant(free);
    }
    if (this.#waiting.size === 0 || this.#closing.signal.aborted) return;
    if (this.#members.length === 0) void this.#open();
    else this.#growTimer ??= setTimeout(() => void this.#grow(), this.#options.growAfterMs);
  }

  /** Connects, however long it takes, as long as someone wants it. */
  async #open(): Promise<void> {
    if (this.#isOpening) return;
    this.#isOpening = true;
    try {
      for (const pauseMs of backoff(RECONNECT_PAUSES)) {
        if (await this.#tryOpen()) break;
        if (!this.#options.keepOpen && this.#waiting.size === 0) {
          this.#lostAtMs = undefined; // nobody looks any more
          break;
        }
        await sleepMs(pauseMs, this.#closing.signal);
      }
    } catch (error) {
      if (!this.#closing.signal.aborted) throw error;
    } finally {
      this.#isOpening = false;
    }
    this.#pump();
  }

  async #tryOpen(): Promise<boolean> {
    try {
      const connection = await this.#parts.connect(this.#closing.signal);
      try {
        await this.#parts.welcome(connection, { isReturn: this.#lostAtMs !== undefined });
        this.#closing.signal.throwIfAborted();
      } catch (error) {
        connection.close();
        throw error;
      }
      this.#lostAtMs = undefined;
      this.#join(connection);
      return true;
    } catch (fault) {
      this.#closing.signal.throwIfAborted();
      if (!(fault instanceof LibvirtFault)) throw fault;
      this.#lostAtMs ??= performance.now();
      this.#refuseThoseWhoWaitedLong(fault);
      return false;
    }
  }

  #refuseThoseWhoWaitedLong(fault: LibvirtFault): void {
    const lostAtMs = this.#lostAtMs ?? performance.now();
    for (const waiter of this.#waiting) {
      const waitedMs = performance.now() - Math.min(waiter.sinceMs, lostAtMs);
      if (waitedMs < this.#options.reconnectWaitMs) continue;
      this.#waiting.delete(waiter);
      waiter.refuse(fault);
    }
  }

  /** Some calls hang: the others get another connection. A failure to open it is the next timer's to try again. */
  async #grow(): Promise<void> {
    const isFull = this.#members.every(({ inFlight }) => inFlight >= this.#options.callsPerConnection);
    if (isFull && this.#waiting.size > 0 && this.#members.length < this.#options.maxConnections) {
      try {
        this.#join(await this.#parts.connect(this.#closing.signal));
      } catch (error) {
        if (!(error instanceof LibvirtFault)) throw error;
      }
    }
    this.#growTimer = undefined;
    if (!this.#closing.signal.aborted) this.#pump();
  }

  #join(connection: Connection): void {
    const member = { connection, inFlight: 0 };
    this.#members.push(member);
    void connection.closed.then(() => {
      const wasFirst = this.#members[0] === member;
      this.#members = this.#members.filter((other) => other !== member);
      if (this.#closing.signal.aborted) return;
      if (wasFirst) this.#lose();
      this.#pump();
    });
  }

  /** The welcomed connection died, so the others are of no use: libvirtd went away. */
  #lose(): void {
    if (this.#options.keepOpen) this.#lostAtMs = performance.now();
    for (const { connection } of this.#members) connection.close();
    this.#members = [];
    if (this.#options.keepOpen) void this.#open();
  }
}
