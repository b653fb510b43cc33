// npm run docs: charts/vmlet/values.schema.json. What is under `config` is what src/config takes; the rest is said here.

import { writeFileSync } from "node:fs";
import { z } from "zod";
import { configSchema } from "../src/config/schema.ts";

const name = () =>
  z
    .string()
    .regex(/^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$/)
    .max(63);
const FOLDER = /^\/[A-Za-z0-9._/-]+$/;
const folder = () => z.string().regex(FOLDER).max(200);
const port = () => z.int().min(1).max(65_535);
const labels = () => z.record(z.string(), z.string());
const list = () => z.array(z.looseObject({}));
/** `2` as well as `"2"` and `2Gi`. */
const quantity = () => z.union([z.string(), z.number()]);
const amounts = () => z.record(z.string(), quantity());
const resources = () => z.strictObject({ requests: amounts().optional(), limits: amounts().optional() });

const valuesSchema = z.strictObject({
  image: z.strictObject({
    repository: z.string().min(1),
    tag: z.string(),
    digest: z.string().regex(/^(sha256:[0-9a-f]{64})?$/),
    pullPolicy: z.enum(["Always", "IfNotPresent", "Never"]),
    pullSecrets: z.array(name()),
  }),
  nodeSelector: labels(),
  tolerations: list(),
  affinity: z.looseObject({}),
  priorityClassName: z.string(),
  kvm: z.enum(["auto", "required", "none"]),
  config: z.any(), // see below
  domainTemplates: z.record(z.string().regex(/^[a-z0-9-]{1,63}$/), z.string().min(1)),
  runtimeClass: z.strictObject({
    create: z.boolean(),
    name: name(),
    overhead: z.strictObject({ memory: quantity(), cpu: quantity().optional() }),
    tolerations: list(),
  }),
  router: z.strictObject({
    mode: z.enum(["install", "remove", "none"]),
    kubeletUnit: z.string().regex(/^[\w@.-]+\.service$/),
  }),
  host: z.strictObject({
    libvirtFolder: folder(),
    programFolder: folder(),
    kubeletFolder: folder(),
    cniBinFolder: folder(),
    cniConfigFolder: folder(),
    cniFolders: z.array(folder()),
  }),
  metrics: z.strictObject({
    address: z.string().regex(/^(\d{1,3}(\.\d{1,3}){3}|\[[0-9a-f:]+\])$/),
    port: port(),
    routerPort: port(),
    serviceMonitor: z.strictObject({ enabled: z.boolean(), interval: z.string(), labels: labels() }),
    dashboard: z.strictObject({ enabled: z.boolean(), labels: labels() }),
  }),
  networkPolicy: z.strictObject({ enabled: z.boolean() }),
  serviceAccount: z.strictObject({
    create: z.boolean(),
    name: z.union([name(), z.literal("")]),
    annotations: labels(),
  }),
  resources: z.strictObject({ vmlet: resources(), libvirtd: resources() }),
  test: z.strictObject({
    enabled: z.boolean(),
    image: z.string().min(1),
    memory: z.string(),
    timeoutSeconds: z.int().min(1),
  }),
  global: z.looseObject({}).optional(), // what a chart around this one may set
});

/**
 * Settings that the chart cannot heed: of its sockets the node sees those in `/run/vmlet` alone, the kubelet is told of
 * `router.sock` there, and the router's unit may write to one state folder only.
 */
const FIXED_IN_CHART = [["socketPath"], ["runFolderPath"], ["router", "socketPath"], ["router", "stateFolderPath"]];

/** Helm's regular expressions are Go's, which have no look-ahead; vmlet itself checks those settings. */
const GO_LACKS = /\(\?[=!<]/;

export function renderChartSchema(): string {
  const options: z.core.ToJSONSchemaParams = {
    io: "input",
    target: "draft-7",
    unrepresentable: "any",
    override: ({ jsonSchema }) => {
      if (GO_LACKS.test(jsonSchema.pattern ?? "")) delete jsonSchema.pattern;
    },
  };
  const { $schema: _, ...config } = z.toJSONSchema(configSchema, options);
  for (const path of FIXED_IN_CHART) remove(config, path);
  narrow(config, "stateFolderPath", FOLDER);
  const values = z.toJSONSchema(valuesSchema, options);
  const properties = { ...values.properties, config };
  return `${JSON.stringify({ ...values, properties }, null, 2)}\n`;
}

/** What is not in the schema is refused by its name. @throws for a path that is not there (any more). */
function remove(schema: z.core.JSONSchema.BaseSchema, [key = "", ...rest]: readonly string[]): void {
  const child = schema.properties?.[key];
  if (typeof child !== "object") throw new Error(`no setting ${key} in the configuration's schema`);
  if (rest.length > 0) return remove(child, rest);
  delete schema.properties?.[key];
}

/** To what can stand in a manifest and in the installer's environment. */
function narrow(schema: z.core.JSONSchema.BaseSchema, key: string, pattern: RegExp): void {
  const child = schema.properties?.[key];
  if (typeof child !== "object") throw new Error(`no setting ${key} in the configuration's schema`);
  child.pattern = pattern.source;
}

if (import.meta.main)
  writeFileSync(new URL("../charts/vmlet/values.schema.json", import.meta.url), renderChartSchema());
