// The daemon as it is from outside while it works: its memory, how late its timers run, how long a list takes.

import { setTimeout as after } from "node:timers/promises";
import { ListContainersRequest } from "../../src/gen/runtime.ts";
import { scrape } from "../../test/node/metrics.ts";
import type { TestNode } from "../../test/node/test-node.ts";
import { timed } from "../bench.ts";
import { residentMiB } from "../memory.ts";

/** Seldom enough to leave the daemon to its work. */
const LOOK_EVERY_MS = 50;
const LATE = /^vmlet_event_loop_delay_seconds_bucket\{le="(.+)"\}$/;

/** How many timers ran at most so late, by seconds as the metric spells them. */
type Timers = ReadonlyMap<string, number>;

/** Looks while something is done, as often as that is; what was seen each time is added. */
export class DaemonWatch {
  readonly rssMiB: number[] = [];
  readonly listMs: number[] = [];
  readonly #timers = new Map<string, number>();
  readonly #node: TestNode;

  constructor(node: TestNode) {
    this.#node = node;
  }

  /** Rejects as the work does. */
  async during(work: () => Promise<unknown>, signal: AbortSignal): Promise<void> {
    const before = await this.#scrapeTimers(signal); // the first of all starts the measuring
    const ended = new AbortController();
    const looking = this.#look(AbortSignal.any([signal, ended.signal]));
    looking.catch(() => {}); // told below, unless the work has failed
    try {
      await work();
    } finally {
      ended.abort();
    }
    await looking;
    for (const [bound, count] of await this.#scrapeTimers(signal))
      this.#timers.set(bound, (this.#timers.get(bound) ?? 0) + count - (before.get(bound) ?? 0));
  }

  /** 99 of 100 timers were not later than this: a bound of one of the metric's buckets. */
  get delayP99Ms(): number {
    const all = this.#timers.get("+Inf") ?? 0;
    if (all === 0) throw new Error("no timer was watched");
    const [bound = ""] = [...this.#timers].find(([, count]) => count >= 0.99 * all) ?? [];
    return bound === "+Inf" ? Number.POSITIVE_INFINITY : Number(bound) * 1000;
  }

  async #look(until: AbortSignal): Promise<void> {
    const pid = await this.#node.daemonPid();
    const list = ListContainersRequest.fromPartial({});
    try {
      for (;;) {
        this.rssMiB.push(await residentMiB(pid));
        await timed(this.listMs, async () => this.#node.cri.runtime.listContainers(list, until));
        await after(LOOK_EVERY_MS, undefined, { signal: until });
      }
    } catch (error) {
      if (!until.aborted) throw error;
    }
  }

  async #scrapeTimers(signal: AbortSignal): Promise<Timers> {
    const timers = new Map<string, number>();
    for (const [line, count] of await scrape(this.#node, signal)) {
      const bound = LATE.exec(line)?.[1];
      if (bound !== undefined) timers.set(bound, count);
    }
    return timers;
  }
}
