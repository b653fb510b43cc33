// npm run docs: docs/metrics.md from the metrics themselves.

import { writeFileSync } from "node:fs";
import type { Registry } from "prom-client";
import { RouterMetrics } from "../src/router/metrics.ts";
import { Metrics } from "../src/telemetry/metrics.ts";

const HEAD = `# Metrics and health

Made by \`npm run docs\` from \`src/telemetry/\` and \`src/router/metrics.ts\`; a test fails when it is stale.

The daemon serves plain HTTP on \`metrics.listen\` ([config.md](config.md)), \`127.0.0.1:10280\` unless told otherwise:

\`\`\`sh
curl http://127.0.0.1:10280/metrics
\`\`\`

| path | answers |
|---|---|
| \`/metrics\` | what is below, in Prometheus' text format |
| \`/healthz\` | 200 while the process lives |
| \`/readyz\` | 200 when CRI is served and libvirtd answers; otherwise 503 and the reason, on one line |

Nobody is asked who they are, so no name of a pod, an image or a registry is in any label. To let Prometheus in from outside, give
an address of the node. When the port is taken the daemon serves CRI all the same, logs it, and goes on trying.

| metric | type | labels | what it is |
|---|---|---|---|
`;

const ROUTER_HEAD = `
## The router

[\`vmlet router\`](router.md) serves the same three paths on \`router.metrics.listen\`, \`127.0.0.1:10281\` unless told otherwise. Beside
what follows, it has the figures of its process (\`process_…\`) as above. Its \`/readyz\` names a runtime that does not answer.

| metric | type | labels | what it is |
|---|---|---|---|
`;

const FOOT = `
Durations are histograms: \`histogram_quantile(0.99, sum by (le, method) (rate(vmlet_rpc_duration_seconds_bucket[5m])))\` is
the 99th percentile by method. A \`method\` is CRI's name for it, or \`vmlet.v1.\` and ours; a \`code\` is
gRPC's (\`OK\`, \`NOT_FOUND\`, …).
`;

/** What a metric of prom-client has beside what its types tell. */
interface Described {
  readonly name: string;
  readonly help: string;
  readonly type: string;
  readonly labelNames: readonly string[];
}

export function renderMetricsDocs(): string {
  const ofDaemon = described(new Metrics("0").registry);
  const ofRouter = described(new RouterMetrics("0").registry).filter(({ name }) => name.startsWith("vmlet_router"));
  return `${HEAD}${ofDaemon.map(row).join("\n")}\n${ROUTER_HEAD}${ofRouter.map(row).join("\n")}\n${FOOT}`;
}

const described = (registry: Registry): readonly Described[] =>
  registry.getMetricsAsArray() as unknown as readonly Described[];

function row({ name, help, type, labelNames }: Described): string {
  return `| \`${name}\` | ${type} | ${labelNames.map((label) => `\`${label}\``).join(", ")} | ${help} |`;
}

if (import.meta.main) writeFileSync(new URL("../docs/metrics.md", import.meta.url), renderMetricsDocs());
