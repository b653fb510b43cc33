// What Prometheus is told of the daemon: facts that are counted when they happen, figures that are asked for at a scrape.

import { Counter, Gauge, Histogram, Registry } from "prom-client";
import { EventLoopWatch } from "./event-loop.ts";
import { addProcessMetrics } from "./process-metrics.ts";

/** From a read out of memory (a millisecond) to a pull, or a stop with a long grace period (minutes). */
const RPC_BUCKETS_SECONDS = [
  0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300, 900,
];
const DELAY_BUCKETS_SECONDS = [0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5];

/** Asked for at each scrape. What throws is shown as unknown (NaN), or left out where it has labels. */
export interface Figures {
  /** How many there are in each state, states with none included. */
  readonly census: () => {
    readonly pods: Readonly<Record<string, number>>;
    readonly machines: Readonly<Record<string, number>>;
  };
  readonly images: () => readonly unknown[];
  readonly pulls: () => readonly {
    readonly phase: string;
    readonly receivedBytes: number;
    readonly totalBytes?: number;
  }[];
  readonly imageStoreBytes: () => Promise<number>;
}

/** INVARIANTS: label values are words of ours, never a name that a pod, an image or a registry chose. */
export class Metrics {
  readonly registry = new Registry();
  #figures: Figures | undefined;
  readonly #rpcSeconds = new Histogram({
    name: "vmlet_rpc_duration_seconds",
    help: "Calls that ended, by how long they took; a stream by how long it was open",
    labelNames: ["method", "code"],
    buckets: RPC_BUCKETS_SECONDS,
    registers: [this.registry],
  });
  readonly #rpcsInFlight = new Gauge({
    name: "vmlet_rpcs_in_flight",
    help: "Calls that have begun and not ended",
    labelNames: ["method"],
    registers: [this.registry],
  });
  readonly #undoFailures = new Counter({
    name: "vmlet_undo_failures_total",
    help: "Operations that failed and could not be undone; what they left is tried again later",
    labelNames: ["operation"],
    registers: [this.registry],
  });
  readonly #reconnects = new Counter({
    name: "vmlet_libvirt_reconnects_total",
    help: "Times that the connection to libvirtd was lost and came back",
    registers: [this.registry],
  });
  readonly #pullsEnded = new Counter({
    name: "vmlet_image_pulls_ended_total",
    help: "Pulls that ended: pulled, present (nothing to download), abandoned, or the failure's code",
    labelNames: ["outcome"],
    registers: [this.registry],
  });
  readonly #bytesReceived = new Counter({
    name: "vmlet_image_received_bytes_total",
    help: "Bytes of images that came over the network",
    registers: [this.registry],
  });

  constructor(version: string) {
    const registers = [this.registry];
    const info = new Gauge({ name: "vmlet_build_info", help: "Always 1", labelNames: ["version"], registers });
    info.set({ version }, 1);
    this.#addCensus("vmlet_pods", "Pods, by state", "pods");
    this.#addCensus("vmlet_machines", "Virtual machines, by state; created and exited ones run no QEMU", "machines");
    this.#addFigure("vmlet_images", "Images that have a name", async ({ images }) => images().length);
    this.#addFigure(
      "vmlet_image_store_bytes",
      "What the image store takes on disk, downloads under way included",
      async ({ imageStoreBytes }) => await imageStoreBytes(),
    );
    const sumOf = (bytes: readonly number[]): number => bytes.reduce((sum, one) => sum + one, 0);
    this.#addFigure("vmlet_image_pulls_under_way", "Pulls that have not ended", async ({ pulls }) => pulls().length);
    this.#addFigure(
      "vmlet_image_pulls_waiting",
      "Those of them that wait for their turn (images.maxParallelDownloads)",
      async ({ pulls }) => pulls().filter(({ phase }) => phase === "waiting").length,
    );
    this.#addFigure(
      "vmlet_image_pulls_under_way_received_bytes",
      "What the pulls under way have received, together",
      async ({ pulls }) => sumOf(pulls().map(({ receivedBytes }) => receivedBytes)),
    );
    this.#addFigure(
      "vmlet_image_pulls_under_way_expected_bytes",
      "What they will have received at their end, as far as their sources say",
      async ({ pulls }) => sumOf(pulls().map(({ totalBytes = 0 }) => totalBytes)),
    );
    const delay: Histogram = new Histogram({
      name: "vmlet_event_loop_delay_seconds",
      help: "How late a timer ran, ten times a second; measured from the first scrape on",
      buckets: DELAY_BUCKETS_SECONDS,
      registers,
      collect: () => loop.begin(),
    });
    const loop = new EventLoopWatch((seconds) => delay.observe(seconds));
    addProcessMetrics(this.registry);
  }

  /** From here on there is somebody to ask. */
  ask(figures: Figures): void {
    this.#figures = figures;
  }

  /** @returns to be called once it has ended, with gRPC's name for how. */
  rpcBegan(method: string): (code: string) => void {
    const startedAtMs = performance.now();
    this.#rpcsInFlight.inc({ method });
    return (code) => {
      this.#rpcsInFlight.dec({ method });
      this.#rpcSeconds.observe({ method, code }, (performance.now() - startedAtMs) / 1000);
    };
  }

  pullEnded(outcome: string): void {
    this.#pullsEnded.inc({ outcome });
  }

  bytesReceived(bytes: number): void {
    this.#bytesReceived.inc(bytes);
  }

  undoFailed(operation: string): void {
    this.#undoFailures.inc({ operation });
  }

  libvirtReconnected(): void {
    this.#reconnects.inc();
  }

  #addCensus(name: string, help: string, what: "pods" | "machines"): void {
    const states = () => Object.entries(this.#figures?.census()[what] ?? {});
    const collect = function (this: Gauge<"state">): void {
      this.reset();
      for (const [state, count] of states()) this.set({ state }, count);
    };
    new Gauge({ name, help, labelNames: ["state"], registers: [this.registry], collect });
  }

  #addFigure(name: string, help: string, valueOf: (figures: Figures) => Promise<number>): void {
    const value = async () => (this.#figures === undefined ? Number.NaN : await valueOf(this.#figures));
    const collect = async function (this: Gauge): Promise<void> {
      this.set(await value().catch(() => Number.NaN)); // the other figures are wanted all the same
    };
    new Gauge({ name, help, registers: [this.registry], collect });
  }
}
