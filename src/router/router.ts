// The router, put together: two runtimes, what is remembered of them, one socket.

import { join } from "node:path";
import type { RouterConfig } from "../config/router.ts";
import { poll } from "../lib/backoff.ts";
import type { Logger } from "../ports/logger.ts";
import { serveMetrics } from "../telemetry/metrics-server.ts";
import { Backend } from "./backend.ts";
import { Calls } from "./calls.ts";
import { RouterMetrics } from "./metrics.ts";
import { SavedMirror } from "./mirror-file.ts";
import { Runtime, type RuntimeOptions } from "./runtime.ts";
import { serveRouter } from "./server.ts";

/** Until both runtimes have said once what they have. */
const AGAIN = { firstMs: 200, maxMs: 5_000 };
/** A slow list of containers is waited for; the share of the caller's own limit is what ends it. */
const CONTAINERS_ANSWER_WITHIN_MS = 30_000;
const VMLET_IMAGES = "vmlet.dev/";

export interface RouterOptions extends RouterConfig {
  readonly machinesSocketPath: string;
  /** Beginnings of names that vmlet takes for its own without `vmlet.dev/`. */
  readonly registryPrefixes: readonly string[];
  readonly version: string;
}

/** Resolves when the socket is served: neither runtime need be there. */
export async function startRouter(options: RouterOptions, log: Logger): Promise<AsyncDisposable> {
  await using parts = new AsyncDisposableStack();
  const metrics = new RouterMetrics(options.version);
  const { registry } = metrics;
  const open = async (name: string, socketPath: string, runtimeOptions: RuntimeOptions): Promise<Runtime> => {
    const saved = await SavedMirror.open(join(options.stateFolderPath, `${name}.mirror`), log);
    parts.defer(async () => await saved.settled());
    const backend = parts.use(new Backend(name, socketPath));
    const { onStale, onReach } = metrics;
    return new Runtime(runtimeOptions, { backend, saved, log, onStale, onReach });
  };
  const runtimes = {
    containers: await open("containers", options.containersSocketPath, {
      answerWithinMs: CONTAINERS_ANSWER_WITHIN_MS,
      isNeeded: true,
    }),
    machines: await open("machines", options.machinesSocketPath, {
      answerWithinMs: options.answerWithinMs,
      isNeeded: false, // a node on which vmlet has not come up yet runs containers
    }),
  };
  const whyNotReady = async (): Promise<string | undefined> => metrics.whyNotReady();
  parts.use(serveMetrics(options.metrics.listen, { registry, whyNotReady, log: log.child("metrics") }));
  const closing = new AbortController();
  const imagePrefixes = [VMLET_IMAGES, ...options.registryPrefixes, ...options.imagePrefixes];
  const calls = new Calls(runtimes, { handlers: options.handlers, imagePrefixes }, closing.signal);
  parts.use(await serveRouter(options.socketPath, { calls, log, onCall: metrics.callBegan }));
  const learning = Object.values(runtimes).map(async (runtime) => await learnOnce(runtime, closing.signal));
  parts.defer(async () => {
    closing.abort();
    await Promise.allSettled(learning);
  });
  return parts.move();
}

async function learnOnce(runtime: Runtime, signal: AbortSignal): Promise<void> {
  const learn = async (): Promise<true | undefined> => {
    await runtime.learn(signal);
    return runtime.isDown ? undefined : true;
  };
  await poll(learn, AGAIN, signal);
}
