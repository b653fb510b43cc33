// What guests say of themselves, their memory and their file systems: told as it was said last. Whoever wants to know
// sets off the next question, and never waits for it: guests and their agents may take their time, or for ever.

import { isRecent } from "../lib/age.ts";
import { Turns } from "../lib/turns.ts";
import type { MachineId } from "../model/ids.ts";
import type { Clock } from "../ports/clock.ts";
import type { GuestFilesystem, GuestFilesystems } from "../ports/guest-filesystems.ts";
import type { GuestMemory, Hypervisor } from "../ports/hypervisor.ts";
import type { Logger } from "../ports/logger.ts";

export interface GuestReport {
  readonly memory?: GuestMemory;
  readonly filesystems?: { readonly atMs: number; readonly all: readonly GuestFilesystem[] };
}

export interface GuestReportParts {
  readonly clock: Clock;
  readonly guestFilesystems: GuestFilesystems;
  readonly hypervisor: Pick<Hypervisor, "sizes">;
  readonly log: Logger;
}

/** As often as guests put their memory's figures where QEMU sees them: the template's `<stats period>`. */
const MEMORY_EVERY_MS = 10_000;
/** An agent has other things to do. */
const FILESYSTEMS_EVERY_MS = 60_000;
/** An agent that hangs holds a slot on the way to libvirt for some seconds: a few of them may. */
const AGENTS_AT_ONCE = 2;

export class GuestReports implements AsyncDisposable {
  readonly #parts: GuestReportParts;
  readonly #reports = new Map<MachineId, GuestReport>();
  readonly #stopped = new AbortController();
  readonly #memory: Question;
  readonly #filesystems: Question;

  constructor(parts: GuestReportParts) {
    this.#parts = parts;
    const { signal } = this.#stopped;
    this.#memory = new Question(MEMORY_EVERY_MS, async (ids) => await this.#askMemory(ids, signal));
    this.#filesystems = new Question(FILESYSTEMS_EVERY_MS, async (ids) => await this.#askFilesystems(ids, signal));
  }

  /** @param machineIds All that run: what others said is forgotten. */
  latest(machineIds: readonly MachineId[]): ReadonlyMap<MachineId, GuestReport> {
    const running = new Set(machineIds);
    for (const machineId of this.#reports.keys()) if (!running.has(machineId)) this.#reports.delete(machineId);
    const latest = new Map(this.#reports);
    if (machineIds.length === 0 || this.#stopped.signal.aborted) return latest;
    const nowMs = this.#parts.clock.nowMs();
    for (const question of [this.#memory, this.#filesystems]) question.ask(machineIds, nowMs);
    return latest;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#stopped.abort();
    await Promise.all([this.#memory.underWay, this.#filesystems.underWay]);
  }

  async #askMemory(machineIds: readonly MachineId[], signal: AbortSignal): Promise<void> {
    const { hypervisor, log } = this.#parts;
    try {
      for (const [machineId, { guest }] of await hypervisor.sizes(machineIds, signal))
        if (guest !== undefined) this.#keep(machineId, { memory: guest });
    } catch (error) {
      log.debug("guests' memory is not told", { error });
    }
  }

  async #askFilesystems(machineIds: readonly MachineId[], signal: AbortSignal): Promise<void> {
    const turns = new Turns(AGENTS_AT_ONCE);
    const ask = async (machineId: MachineId): Promise<void> => {
      const { clock, guestFilesystems, log } = this.#parts;
      try {
        using _turn = await turns.take(signal);
        const all = await guestFilesystems.of(machineId, signal);
        this.#keep(machineId, { filesystems: { atMs: clock.nowMs(), all } });
      } catch (error) {
        log.debug("a guest's file systems are not told", { machine: machineId, error }); // most have no agent
      }
    };
    await Promise.all(machineIds.map(ask));
  }

  #keep(machineId: MachineId, said: GuestReport): void {
    this.#reports.set(machineId, { ...this.#reports.get(machineId), ...said });
  }
}

/** Asked once at a time, and not again before its answers are old. */
class Question {
  underWay: Promise<void> | undefined;
  readonly #everyMs: number;
  readonly #work: (machineIds: readonly MachineId[]) => Promise<void>;
  #askedAtMs = Number.NEGATIVE_INFINITY;

  constructor(everyMs: number, work: (machineIds: readonly MachineId[]) => Promise<void>) {
    this.#everyMs = everyMs;
    this.#work = work;
  }

  ask(machineIds: readonly MachineId[], nowMs: number): void {
    if (this.underWay !== undefined || isRecent(this.#askedAtMs, nowMs, this.#everyMs)) return;
    this.#askedAtMs = nowMs;
    this.underWay = this.#work(machineIds).finally(() => {
      this.underWay = undefined;
    });
  }
}
