// HTTP for Prometheus and for probes: /metrics, /healthz, /readyz. Plain, without names in it, and bounded.

import type { IncomingMessage, Server, ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import type { Registry } from "prom-client";
import { backoff, sleepMs } from "../lib/backoff.ts";
import { createServer } from "../lib/http-module.ts";
import { printable } from "../lib/printable.ts";
import { singleFlight } from "../lib/single-flight.ts";
import type { Logger } from "../ports/logger.ts";

/** Anyone on the machine can connect: they get a place each, but not all of our descriptors, and not for long. */
const MAX_CONNECTIONS = 64;
const LIMITS = { headersTimeout: 5_000, requestTimeout: 10_000, keepAliveTimeout: 5_000, maxHeaderSize: 8_192 };
/** Somebody else has the port: it may become free. */
const AGAIN = { firstMs: 1_000, maxMs: 60_000 };
const READY_LIMIT_MS = 5_000;

export interface MetricsServerParts {
  readonly registry: Registry;
  /** Why the daemon cannot do its work now, for people; undefined: it can. */
  readonly whyNotReady: (signal: AbortSignal) => Promise<string | undefined>;
  readonly log: Logger;
}

/**
 * Serves until disposed; the address is logged. Machines matter more than metrics: a port that is taken is waited for
 * in the background.
 */
export function serveMetrics(
  listen: "off" | { readonly host: string; readonly port: number },
  parts: MetricsServerParts,
): AsyncDisposable {
  if (listen === "off") return { [Symbol.asyncDispose]: async () => {} };
  const { log } = parts;
  // Probes must not become a load for libvirtd.
  const ready = singleFlight(async () => await parts.whyNotReady(AbortSignal.timeout(READY_LIMIT_MS)));
  const server = createServer(LIMITS, (request, response) => {
    answer(request, response, parts.registry, ready).catch((error: unknown) => {
      log.warn("metrics request failed", { error });
      response.destroy();
    });
  });
  server.on("error", (error) => log.warn("metrics server failed", { error })); // out of descriptors, for instance
  server.maxConnections = MAX_CONNECTIONS;
  server.unref();
  const closing = new AbortController();
  const listening = listenUntilDone(server, listen, log, closing.signal);
  return {
    [Symbol.asyncDispose]: async () => {
      closing.abort();
      await listening;
      const { promise: closed, resolve } = Promise.withResolvers<void>();
      server.close(() => resolve());
      server.closeAllConnections();
      await closed;
    },
  };
}

async function listenUntilDone(
  server: Server,
  { host, port }: { readonly host: string; readonly port: number },
  log: Logger,
  signal: AbortSignal,
): Promise<void> {
  for (const pauseMs of backoff(AGAIN)) {
    const { promise, resolve, reject } = Promise.withResolvers<void>();
    server.once("error", reject).listen({ host, port }, resolve);
    try {
      await promise;
      const { address, family, port: actual } = server.address() as AddressInfo;
      log.info("metrics served", { url: `http://${family === "IPv6" ? `[${address}]` : address}:${actual}/metrics` });
      return;
    } catch (error) {
      log.error("metrics are not served; trying again (metrics.listen)", { host, port, error });
    } finally {
      server.off("error", reject);
    }
    await sleepMs(pauseMs, signal).catch(() => {});
    if (signal.aborted) return;
  }
}

async function answer(
  { method, url }: IncomingMessage,
  response: ServerResponse,
  registry: Registry,
  ready: () => Promise<string | undefined>,
): Promise<void> {
  const say = (status: number, text: string, type = "text/plain; charset=utf-8"): void => {
    response.writeHead(status, { "content-type": type, "x-content-type-options": "nosniff" });
    response.end(method === "HEAD" ? undefined : text);
  };
  if (method !== "GET" && method !== "HEAD") return say(405, "only GET and HEAD\n");
  switch (url?.split("?")[0]) {
    case "/metrics":
      return say(200, await registry.metrics(), registry.contentType);
    case "/healthz":
      return say(200, "ok\n");
    case "/readyz": {
      const why = await ready();
      return why === undefined ? say(200, "ok\n") : say(503, `${printable(why)}\n`);
    }
    default:
      return say(404, "/metrics, /healthz and /readyz are here\n");
  }
}
