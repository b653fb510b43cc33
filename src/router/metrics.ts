// What Prometheus is told of the router.

import { Counter, Gauge, Histogram, Registry } from "prom-client";
import { addProcessMetrics } from "../telemetry/process-metrics.ts";
import { CODE } from "./grpc.ts";
import { routeOf } from "./methods.ts";

const BUCKETS_SECONDS = [0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.1, 0.5, 1, 5, 30, 120, 600];

/** INVARIANTS: label values are words of ours; an unknown method is `other`. */
export class RouterMetrics {
  readonly registry = new Registry();
  readonly #seconds = new Histogram({
    name: "vmlet_router_call_duration_seconds",
    help: "Calls that ended, by how long they took; a stream by how long it was open",
    labelNames: ["method", "code"],
    buckets: BUCKETS_SECONDS,
    registers: [this.registry],
  });
  readonly #stale = new Counter({
    name: "vmlet_router_stale_answers_total",
    help: "Lists that were answered from memory for a runtime that did not answer",
    labelNames: ["runtime", "method"],
    registers: [this.registry],
  });
  readonly #isUp = new Gauge({
    name: "vmlet_router_runtime_up",
    help: "Whether the runtime answered when it was last asked",
    labelNames: ["runtime"],
    registers: [this.registry],
  });
  readonly #down = new Set<string>();

  constructor(version: string) {
    const registers = [this.registry];
    const info = new Gauge({ name: "vmlet_router_build_info", help: "Always 1", labelNames: ["version"], registers });
    info.set({ version }, 1);
    addProcessMetrics(this.registry);
  }

  readonly callBegan = (path: string): ((code: number) => void) => {
    const startedAtMs = performance.now();
    const method = routeOf(path) === undefined ? "other" : nameOf(path);
    return (code) => {
      const named = NAMES[code] ?? "UNKNOWN"; // a runtime may say any number
      this.#seconds.observe({ method, code: named }, (performance.now() - startedAtMs) / 1000);
    };
  };

  readonly onStale = (runtime: string, path: string): void => this.#stale.inc({ runtime, method: nameOf(path) });

  readonly onReach = (runtime: string, isUp: boolean): void => {
    this.#isUp.set({ runtime }, isUp ? 1 : 0);
    if (isUp) this.#down.delete(runtime);
    else this.#down.add(runtime);
  };

  /** The router itself can always serve; a person who asks wants to know of the runtimes. */
  whyNotReady(): string | undefined {
    return this.#down.size === 0 ? undefined : `not answering: ${[...this.#down].join(", ")}`;
  }
}

/** In the order of their numbers. */
const NAMES = Object.keys(CODE);

const nameOf = (path: string): string => path.slice(path.lastIndexOf("/") + 1);
