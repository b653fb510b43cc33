// The chart as Helm renders it, in the parts that a kubelet would act on.

import { spawn } from "node:child_process";
import { join } from "node:path";
import { json } from "node:stream/consumers";
import { parseAllDocuments } from "yaml";
import { z } from "zod";
import { REPO_PATH } from "../../node/layout.ts";

export const CHARTCHECK_PATH = join(REPO_PATH, ".cache/bin/chartcheck");

const answerSchema = z.object({
  cases: z.tuple([z.object({ error: z.string().optional(), manifests: z.record(z.string(), z.string()).optional() })]),
});

const containerSchema = z.object({
  name: z.string(),
  image: z.string(),
  command: z.array(z.string()),
  env: z.array(z.object({ name: z.string(), value: z.coerce.string() })).default([]),
  securityContext: z.object({ privileged: z.boolean() }),
  volumeMounts: z.array(
    z.object({
      name: z.string(),
      mountPath: z.string(),
      subPath: z.string().optional(),
      readOnly: z.boolean().default(false),
      mountPropagation: z.enum(["HostToContainer", "Bidirectional"]).optional(),
    }),
  ),
});

const podSchema = z.object({
  initContainers: z.array(containerSchema),
  containers: z.array(containerSchema),
  hostNetwork: z.literal(true),
  hostPID: z.literal(true),
  volumes: z.array(
    z.object({
      name: z.string(),
      hostPath: z.object({ path: z.string() }).optional(),
      configMap: z.object({ name: z.string() }).optional(),
    }),
  ),
});

export type RenderedContainer = z.output<typeof containerSchema>;

export interface Rendered {
  readonly pod: z.output<typeof podSchema>;
  /** The files of each ConfigMap. */
  readonly configMaps: Readonly<Record<string, Readonly<Record<string, string>>>>;
}

export async function renderChart(values: unknown): Promise<Rendered> {
  const child = spawn(CHARTCHECK_PATH, { stdio: ["pipe", "pipe", "ignore"] });
  child.stdin.end(
    JSON.stringify({ chart: join(REPO_PATH, "charts/vmlet"), cases: [{ name: "it", values, show: true }] }),
  );
  const [{ error, manifests = {} }] = answerSchema.parse(await json(child.stdout)).cases;
  if (error !== undefined) throw new Error(error);
  const objects = Object.entries(manifests)
    .filter(([path]) => path.endsWith(".yaml"))
    .flatMap(([, text]) => parseAllDocuments(text).map((document): unknown => document.toJS()));
  const [daemonSet] = objects.flatMap((object) => {
    const found = z.object({
      kind: z.literal("DaemonSet"),
      spec: z.object({ template: z.object({ spec: podSchema }) }),
    });
    return found.safeParse(object).data ?? [];
  });
  if (daemonSet === undefined) throw new Error("no DaemonSet that we understand");
  const configMap = z.object({
    kind: z.literal("ConfigMap"),
    metadata: z.object({ name: z.string() }),
    data: z.record(z.string(), z.string()),
  });
  const configMaps = objects.flatMap((object) => configMap.safeParse(object).data ?? []);
  return {
    pod: daemonSet.spec.template.spec,
    configMaps: Object.fromEntries(configMaps.map(({ metadata, data }) => [metadata.name, data])),
  };
}
