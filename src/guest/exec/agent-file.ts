// A file in the guest that grows while it is read through the agent.

import { undoSignal } from "../../lib/undo.ts";
import type { Agent } from "./agent.ts";
import type { Sink } from "./sink.ts";

/** As base64 a piece stays far below the 4 MiB that libvirt takes of an answer. */
const PIECE_BYTES = 1 << 20;
const CLOSE_LIMIT_MS = 5_000;

export class AgentFile implements AsyncDisposable {
  readonly sink: Sink;
  readonly #agent: Agent;
  readonly #path: string;
  readonly #maxBytes: number;
  #handle: number | undefined;
  #readBytes = 0;

  constructor(agent: Agent, path: string, { sink, maxBytes }: { readonly sink: Sink; readonly maxBytes: number }) {
    this.#agent = agent;
    this.#path = path;
    this.#maxBytes = maxBytes;
    this.sink = sink;
  }

  /** Gives the sink what came since the last time; a file that is not there (any more) gives nothing. */
  async copy(signal: AbortSignal): Promise<void> {
    this.#handle ??= await this.#agent.open(this.#path, signal);
    if (this.#handle === undefined) return;
    while (this.#readBytes < this.#maxBytes) {
      const askedBytes = Math.min(PIECE_BYTES, this.#left);
      const content = await this.#agent.read(this.#handle, askedBytes, signal);
      if (content.length > 0) await this.#give(content, signal);
      if (content.length < askedBytes) return; // the agent reads until it has all or the file ends
    }
  }

  /** Gives the sink the rest of what is known to be the whole. */
  async finish(whole: Buffer, signal: AbortSignal): Promise<void> {
    const rest = whole.subarray(this.#readBytes);
    if (rest.length > 0) await this.#give(rest, signal);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    if (this.#handle === undefined) return;
    await this.#agent.close(this.#handle, undoSignal(CLOSE_LIMIT_MS)).catch(() => {}); // the guest may be gone
  }

  get #left(): number {
    return this.#maxBytes - this.#readBytes;
  }

  async #give(content: Buffer, signal: AbortSignal): Promise<void> {
    this.#readBytes += content.length;
    await this.sink.write(content, signal);
  }
}
