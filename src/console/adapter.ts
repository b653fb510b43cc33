// ConsoleLogs: one tail per machine, none of which waits for another.

import { untilAborted } from "../lib/keyed-lock.ts";
import { VmletError } from "../model/failure.ts";
import type { MachineId } from "../model/ids.ts";
import type { Clock } from "../ports/clock.ts";
import type { ConsoleLogRequest, ConsoleLogs } from "../ports/console-log.ts";
import type { Logger } from "../ports/logger.ts";
import { capFile } from "./file-cap.ts";
import { CONSOLE_DEFAULTS, type ConsoleOptions } from "./options.ts";
import { Tail } from "./tail.ts";

/** A report is one short line. */
const MAX_INIT_REPORT_BYTES = 64 << 10;

/** Disposing stops all tails where they are; the next `follow` of the same machines goes on there. */
export function createConsoleLogs(
  options: Partial<ConsoleOptions>,
  parts: { readonly clock: Clock; readonly log: Logger },
): ConsoleLogs & AsyncDisposable {
  return new TailedConsoleLogs({ ...CONSOLE_DEFAULTS, ...options }, parts);
}

class TailedConsoleLogs implements ConsoleLogs, AsyncDisposable {
  readonly #options: ConsoleOptions;
  readonly #parts: { readonly clock: Clock; readonly log: Logger };
  readonly #tails = new Map<MachineId, Promise<Tail>>();
  readonly #caps = new Map<MachineId, Disposable>();
  /** Tails on their way out: a `follow` of the same machine waits for them, for they share files. */
  readonly #endings = new Map<MachineId, Promise<void>>();

  constructor(options: ConsoleOptions, parts: { readonly clock: Clock; readonly log: Logger }) {
    this.#options = options;
    this.#parts = parts;
  }

  async follow(request: ConsoleLogRequest, signal: AbortSignal): Promise<void> {
    const { machineId } = request;
    const known = this.#tails.get(machineId);
    if (known !== undefined) return void (await untilAborted(known, signal));
    signal.throwIfAborted();
    const started = this.#start(request);
    this.#tails.set(machineId, started);
    started.catch(() => this.#tails.delete(machineId));
    await untilAborted(started, signal);
  }

  async finish(machineId: MachineId, signal: AbortSignal): Promise<void> {
    const tail = this.#tails.get(machineId);
    if (tail !== undefined) {
      this.#tails.delete(machineId);
      this.#dropCap(machineId);
      const ending = tail.then(async (it) => it.finish()).finally(() => this.#endings.delete(machineId));
      ending.catch(() => {}); // whoever waits hears of it; nobody may be waiting any more
      this.#endings.set(machineId, ending);
    }
    await untilAborted(this.#endings.get(machineId) ?? Promise.resolve(), signal);
  }

  async reopen(machineId: MachineId, signal: AbortSignal): Promise<void> {
    const tail = await untilAborted(this.#tails.get(machineId) ?? Promise.resolve(undefined), signal);
    if (tail === undefined) {
      throw new VmletError({ code: "MACHINE_NOT_FOUND", machineId }, `container ${machineId}: no log is being written`);
    }
    const reopened = tail.reopen();
    reopened.catch(() => {}); // heard below, unless the caller went away
    try {
      await untilAborted(reopened, signal);
    } catch (error) {
      signal.throwIfAborted();
      const reason = error instanceof Error ? error.message : String(error);
      throw new VmletError(
        { code: "WRONG_STATE", subject: "container log", state: reason },
        `container ${machineId}: its log could not be opened anew, the old file stays in use: ${reason}`,
        { cause: error },
      );
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    const tails = await Promise.allSettled(this.#tails.values());
    for (const machineId of this.#caps.keys()) this.#dropCap(machineId);
    this.#tails.clear();
    await Promise.all(tails.map(async (tail) => (tail.status === "fulfilled" ? tail.value.stop() : undefined)));
    await Promise.allSettled(this.#endings.values());
  }

  async #start(request: ConsoleLogRequest): Promise<Tail> {
    await this.#endings.get(request.machineId);
    const { clock, log } = this.#parts;
    this.#dropCap(request.machineId);
    this.#caps.set(request.machineId, capFile(request.initReportPath, MAX_INIT_REPORT_BYTES));
    return Tail.start(request, this.#options, { clock, log });
  }

  #dropCap(machineId: MachineId): void {
    this.#caps.get(machineId)?.[Symbol.dispose]();
    this.#caps.delete(machineId);
  }
}
