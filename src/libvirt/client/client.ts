// libvirt as the rest of `src/libvirt/` sees it: calls, events and streams that outlive connections.

import { KeyedLock, untilAborted } from "../../lib/keyed-lock.ts";
import { limitOf, within } from "../../lib/limit.ts";
import { LibvirtFault } from "./fault.ts";
import { type ConnectOptions, openConnection } from "./handshake.ts";
import { Lane, type LaneOptions } from "./lane.ts";
import { type DomainEvent, type DomainRef, events, type LaneName, type Procedure, procedures } from "./messages.ts";
import { Quarantine, type QueueName } from "./quarantine.ts";
import type { LibvirtStream } from "./stream.ts";

export interface ClientOptions extends ConnectOptions, Omit<LaneOptions, "keepOpen" | "maxConnections"> {
  readonly maxConnections: Readonly<Record<LaneName, number>>;
  /** Milliseconds from sending until a call counts as hanging. */
  readonly limitMs: Readonly<Record<LaneName, number>>;
}

export interface CallOptions {
  /** The domain that the call is about: its calls go one by one, and none while it hangs. */
  readonly domain?: DomainRef;
  /** Instead of the lane's own limit. */
  readonly limitMs?: number;
  /** Instead of the procedure's own lane. */
  readonly lane?: LaneName;
}

export type ClientEvent = DomainEvent | { readonly type: "reconnected" };

export const CLIENT_DEFAULTS = {
  uri: "qemu:///system",
  handshakeLimitMs: 5_000,
  keepalive: { intervalMs: 5_000, missesAllowed: 3 },
  callsPerConnection: 4,
  // libvirtd works on 20 calls at a time, of all clients (its max_workers). How long a slow one takes, guests decide: 16 of them
  // at most leave somebody there for everything else.
  maxConnections: { read: 5, lifecycle: 5, slow: 4 },
  growAfterMs: 250,
  reconnectWaitMs: 10_000,
  limitMs: { read: 10_000, lifecycle: 30_000, slow: 60_000 },
} as const satisfies Omit<ClientOptions, "socketPath">;

const EVENT_LIFECYCLE_STOPPED = 5;
const READ_ATTEMPTS = 3;

/**
 * Connects in the background and again after every loss. Calls wait through a short loss; one that was already sent
 * when the connection died rejects as `gone`, unless it only reads: then it is sent again.
 */
export class LibvirtClient implements Disposable {
  readonly #options: ClientOptions;
  readonly #lanes: Readonly<Record<LaneName, Lane>>;
  readonly #queues = new KeyedLock();
  readonly #quarantine = new Quarantine();
  readonly #listeners = new Set<(event: ClientEvent) => void>();
  readonly #streams = new Set<LibvirtStream>();

  constructor(options: ClientOptions) {
    this.#options = options;
    const lane = (name: LaneName, keepOpen: boolean, welcome: ConstructorParameters<typeof Lane>[1]["welcome"]): Lane =>
      new Lane(
        { ...options, maxConnections: options.maxConnections[name], keepOpen },
        { connect: (signal) => openConnection(options, (event) => this.#hear(event), signal), welcome },
      );
    this.#lanes = {
      read: lane("read", true, async (connection, { isReturn }) => {
        for (const { id } of events) {
          await connection.call(procedures.eventRegister, { eventId: id, domain: undefined });
        }
        if (isReturn) this.#tell({ type: "reconnected" });
      }),
      lifecycle: lane("lifecycle", false, async () => {}),
      slow: lane("slow", false, async () => {}),
    };
  }

  get socketPath(): string {
    return this.#options.socketPath;
  }

  /** Abort ends the waiting, not the work: the call may have been carried out, its answer is dropped. */
  async call<Args, Reply>(
    procedure: Procedure<Args, Reply>,
    args: Args,
    options: CallOptions,
    signal: AbortSignal,
  ): Promise<Reply> {
    return untilAborted(this.#queue(procedure, args, options, signal), signal);
  }

  /** A stream has a connection of its own, so that nobody waits behind one that nobody reads. */
  async openStream<Args>(
    procedure: Procedure<Args, unknown>,
    args: Args,
    { domain }: { readonly domain: DomainRef },
    signal: AbortSignal,
  ): Promise<LibvirtStream> {
    this.#quarantine.check(domain.uuid, "slow", procedure.name, domain.name);
    // No keepalive: a reader that takes its time is not a dead libvirtd.
    const connection = await openConnection({ ...this.#options, keepalive: undefined }, () => {}, signal);
    try {
      const limitMs = this.#options.limitMs.slow;
      const opening = connection.openStream(procedure, args);
      const limited = within(opening, limitMs, () => hangs(procedure.name, domain, limitMs));
      const stream = await untilAborted(limited, signal);
      this.#streams.add(stream);
      stream.once("close", () => this.#streams.delete(stream));
      return stream;
    } catch (error) {
      connection.close();
      throw error;
    }
  }

  /** Events of all domains, ours or not. A listener must not throw and must return at once. */
  listen(listener: (event: ClientEvent) => void): Disposable {
    this.#listeners.add(listener);
    return { [Symbol.dispose]: () => void this.#listeners.delete(listener) };
  }

  /** Of which lanes there are how many connections, and calls libvirt has not answered; for diagnosis. */
  load(): Readonly<Record<LaneName, { readonly connections: number; readonly inFlight: number }>> {
    const of = (lane: Lane) => ({ connections: lane.connectionCount, inFlight: lane.inFlight });
    return { read: of(this.#lanes.read), lifecycle: of(this.#lanes.lifecycle), slow: of(this.#lanes.slow) };
  }

  [Symbol.dispose](): void {
    for (const lane of Object.values(this.#lanes)) lane[Symbol.dispose]();
    for (const stream of this.#streams) stream.destroy();
    this.#listeners.clear();
  }

  /** One after another per domain and queue; the next one goes when the answer came or its limit passed. */
  #queue<Args, Reply>(
    procedure: Procedure<Args, Reply>,
    args: Args,
    options: CallOptions,
    signal: AbortSignal,
  ): Promise<Reply> {
    const { domain } = options;
    if (domain === undefined) return this.#send(procedure, args, options, undefined, signal);
    const name = procedure.name === procedures.destroy.name ? "destroy" : (options.lane ?? procedure.lane);
    const queue = { name, domain } as const;
    return this.#queues.run(
      `${name} ${domain.uuid}`,
      async () => {
        signal.throwIfAborted();
        this.#quarantine.check(domain.uuid, name, procedure.name, domain.name);
        return this.#send(procedure, args, options, queue, signal);
      },
      signal,
    );
  }

  async #send<Args, Reply>(
    procedure: Procedure<Args, Reply>,
    args: Args,
    options: CallOptions,
    queue: { readonly name: QueueName; readonly domain: DomainRef } | undefined,
    signal: AbortSignal,
  ): Promise<Reply> {
    const laneName = options.lane ?? procedure.lane;
    const limitMs = options.limitMs ?? this.#options.limitMs[laneName];
    for (let attempt = 1; ; attempt++) {
      const { answer } = await this.#start(procedure, args, laneName, limitMs, signal);
      try {
        return await within(answer, limitMs, () => {
          if (queue === undefined) return late(procedure.name, limitMs);
          this.#quarantine.add(queue.domain.uuid, queue.name, answer);
          return hangs(procedure.name, queue.domain, limitMs);
        });
      } catch (error) {
        const isGone = error instanceof LibvirtFault && error.fault.kind === "gone";
        if (!isGone || procedure.lane !== "read" || attempt >= READ_ATTEMPTS) throw error;
      }
    }
  }

  /** Resolves when the call was sent, with its answer to come. */
  async #start<Args, Reply>(
    procedure: Procedure<Args, Reply>,
    args: Args,
    lane: LaneName,
    limitMs: number,
    signal: AbortSignal,
  ): Promise<{ readonly answer: Promise<Reply> }> {
    const waitMs = limitMs + this.#options.reconnectWaitMs;
    using limit = limitOf(waitMs, late(procedure.name, waitMs));
    const waiting = AbortSignal.any([signal, limit.signal]);
    return await this.#lanes[lane].start((connection) => connection.call(procedure, args), waiting);
  }

  #hear(event: DomainEvent): void {
    if (event.type === "lifecycle" && event.event === EVENT_LIFECYCLE_STOPPED) this.#quarantine.lift(event.domain.uuid);
    this.#tell(event);
  }

  #tell(event: ClientEvent): void {
    for (const listener of this.#listeners) listener(event);
  }
}

function late(procedure: string, limitMs: number): LibvirtFault {
  return new LibvirtFault(
    { kind: "late", procedure, limitMs },
    `${procedure}: no answer from libvirtd in ${limitMs} ms`,
  );
}

function hangs(procedure: string, domain: DomainRef, limitMs: number): LibvirtFault {
  const fault = { kind: "stuck", procedure, domain: domain.name, isFirst: true } as const;
  return new LibvirtFault(fault, `${procedure}: domain ${domain.name} did not answer in ${limitMs} ms`);
}
