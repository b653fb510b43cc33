// Questions and answers between the daemon and its streaming process, over Node's IPC channel, both ways.
//
// INVARIANTS: a question is answered, fails, or fails because the channel closed: it never hangs. Abort ends the waiting
// at once and the other side's work as soon as it hears.

import { type Failure, VmletError } from "../model/failure.ts";

/** By name: one request, one answer. All of it survives structured cloning. */
// oxlint-disable-next-line typescript/no-explicit-any -- a table of functions of any one request
export type Calls = Readonly<Record<string, (request: any, signal: AbortSignal) => Promise<unknown>>>;

/** What `process` (in a child) and a ChildProcess have in common. */
export interface Transport {
  send(message: Message, whenSent: (error: Error | null) => void): unknown;
  on(event: "message", listener: (message: unknown) => void): unknown;
  on(event: "disconnect", listener: () => void): unknown;
}

type Message =
  | { readonly type: "ask"; readonly id: number; readonly name: string; readonly request: unknown }
  | { readonly type: "abort"; readonly id: number; readonly error: WireError }
  | { readonly type: "answer"; readonly id: number; readonly value: unknown }
  | { readonly type: "fail"; readonly id: number; readonly error: WireError };

interface WireError {
  readonly name: string;
  readonly message: string;
  readonly failure?: Failure;
}

interface Waiting {
  readonly resolve: (value: unknown) => void;
  readonly reject: (error: unknown) => void;
}

/** One side. `Theirs` is what may be asked of the other. */
export class Peer<Theirs extends Calls> {
  readonly #transport: Transport;
  readonly #ours: Calls;
  readonly #waiting = new Map<number, Waiting>();
  readonly #working = new Map<number, AbortController>();
  readonly #closing = new AbortController();
  #lastId = 0;

  constructor(transport: Transport, ours: Calls) {
    this.#transport = transport;
    this.#ours = ours;
    transport.on("message", (message) => this.#receive(message as Message));
    transport.on("disconnect", () => this.#close());
  }

  /** Aborted when the channel is closed; the reason is a STREAMING_GONE. */
  get closed(): AbortSignal {
    return this.#closing.signal;
  }

  /** @throws what the other side threw; STREAMING_GONE when the channel closes before the answer. */
  async ask<Name extends keyof Theirs & string>(
    name: Name,
    request: Parameters<Theirs[Name]>[0],
    signal: AbortSignal,
  ): Promise<Awaited<ReturnType<Theirs[Name]>>> {
    signal.throwIfAborted();
    this.closed.throwIfAborted();
    const id = ++this.#lastId;
    const { promise, resolve, reject } = Promise.withResolvers<unknown>();
    const onAbort = (): void => {
      reject(signal.reason);
      this.#send({ type: "abort", id, error: toWire(signal.reason) });
    };
    this.#waiting.set(id, { resolve, reject });
    signal.addEventListener("abort", onAbort, { once: true });
    try {
      this.#send({ type: "ask", id, name, request });
      return (await promise) as Awaited<ReturnType<Theirs[Name]>>;
    } finally {
      signal.removeEventListener("abort", onAbort);
      this.#waiting.delete(id);
    }
  }

  #receive(message: Message): void {
    switch (message.type) {
      case "ask":
        void this.#work(message.id, message.name, message.request);
        break;
      case "abort":
        this.#working.get(message.id)?.abort(fromWire(message.error));
        break;
      case "answer":
        this.#waiting.get(message.id)?.resolve(message.value);
        break;
      case "fail":
        this.#waiting.get(message.id)?.reject(fromWire(message.error));
        break;
    }
  }

  async #work(id: number, name: string, request: unknown): Promise<void> {
    const controller = new AbortController();
    this.#working.set(id, controller);
    try {
      const work = this.#ours[name];
      if (work === undefined) throw new Error(`nothing answers ${name}`);
      const value = await work(request, controller.signal);
      this.#send({ type: "answer", id, value });
    } catch (error) {
      this.#send({ type: "fail", id, error: toWire(error) });
    } finally {
      this.#working.delete(id);
    }
  }

  #send(message: Message): void {
    if (this.closed.aborted) return;
    // A channel that breaks while we write tells so by its own event.
    this.#transport.send(message, (error) => void (error !== null && this.#close()));
  }

  #close(): void {
    if (this.closed.aborted) return;
    const gone = streamingGone();
    this.#closing.abort(gone);
    for (const { reject } of this.#waiting.values()) reject(gone);
    for (const controller of this.#working.values()) controller.abort(gone);
  }
}

export function streamingGone(): VmletError {
  return new VmletError(
    { code: "STREAMING_GONE" },
    "the streaming process of vmlet is not there; it is being started again, so try once more",
  );
}

function toWire(error: unknown): WireError {
  if (error instanceof SuppressedError) return toWire(error.suppressed);
  if (error instanceof VmletError) return { name: error.name, message: error.message, failure: error.failure };
  if (error instanceof Error) return { name: error.name, message: error.message };
  return { name: "Error", message: String(error) };
}

/** AbortError and TimeoutError keep their names: a deadline must stay one. */
function fromWire({ name, message, failure }: WireError): Error {
  if (failure !== undefined) return new VmletError(failure, message);
  return name === "AbortError" || name === "TimeoutError" ? new DOMException(message, name) : new Error(message);
}
