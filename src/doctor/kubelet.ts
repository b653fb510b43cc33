// The kubelet of this node: does it come to us, and does it have patience for machines?

import { parse } from "yaml";
import { z } from "zod";
import type { Config } from "../config/schema.ts";
import { error, type Finding, ok, warning } from "./finding.ts";
import type { Node } from "./node.ts";

const DEFAULT_CONFIG_PATH = "/var/lib/kubelet/config.yaml";
/** Kubelets before it send an `:authority` that Node's HTTP/2 refuses. */
const OLDEST_MINOR = 31;
/** The kubelet's own default; a machine that is asked to stop may take longer. */
const PATIENT_SECONDS = 120;

const settingsSchema = z.looseObject({
  containerRuntimeEndpoint: z.string().optional(),
  serializeImagePulls: z.boolean().optional(),
  maxParallelImagePulls: z.number().nullish(),
  runtimeRequestTimeout: z.string().optional(),
  cgroupDriver: z.string().optional(),
});
type Settings = z.infer<typeof settingsSchema>;

export async function checkKubelet(node: Node, config: Config, signal: AbortSignal): Promise<Finding[]> {
  const found = await find(node);
  if (found === undefined)
    return [warning("kubelet", "none runs here", "start it after vmlet; then call vmlet doctor again")];
  const { pid, flags } = found;
  const settings = await settingsOf(node, pid, flags);
  return [
    await version(node, pid, signal),
    endpoint(flags.get("container-runtime-endpoint") ?? settings.containerRuntimeEndpoint ?? "", config),
    ...patience(settings, flags),
  ].filter((one) => one !== undefined);
}

async function find(node: Node): Promise<{ pid: string; flags: ReadonlyMap<string, string> } | undefined> {
  for (const pid of (await node.list("/proc")).filter((name) => /^\d+$/.test(name))) {
    if ((await node.read(`/proc/${pid}/comm`))?.trim() !== "kubelet") continue;
    const argv = ((await node.read(`/proc/${pid}/cmdline`)) ?? "").split("\0").filter((word) => word !== "");
    return { pid, flags: flagsOf(argv.slice(1)) };
  }
  return undefined;
}

/** `--name=value` and `--name value`. */
function flagsOf(words: readonly string[]): ReadonlyMap<string, string> {
  const flags = new Map<string, string>();
  for (const [index, word] of words.entries()) {
    const [, name, value] = /^--?([^=]+)(?:=(.*))?$/s.exec(word) ?? [];
    if (name === undefined) continue;
    const next = words[index + 1] ?? "";
    flags.set(name, value ?? (next.startsWith("-") ? "true" : next));
  }
  return flags;
}

/** As the kubelet sees its own file: it may run in a root of its own. */
async function settingsOf(node: Node, pid: string, flags: ReadonlyMap<string, string>): Promise<Settings> {
  const path = flags.get("config") ?? DEFAULT_CONFIG_PATH;
  const text = (await node.read(`/proc/${pid}/root${path}`)) ?? "";
  try {
    return settingsSchema.catch({}).parse(parse(text) ?? {});
  } catch {
    return {}; // the kubelet itself would not have started with it
  }
}

async function version(node: Node, pid: string, signal: AbortSignal): Promise<Finding | undefined> {
  const { stdout } = await node.run(`/proc/${pid}/exe`, ["--version"], {}, signal);
  const [text, minor] = /v1\.(\d+)\.\S+/.exec(stdout.toString("utf8")) ?? [];
  if (text === undefined) return undefined;
  if (Number(minor) >= OLDEST_MINOR) return ok("kubelet", text);
  return error("kubelet", `${text} cannot speak to Node's HTTP/2`, `Kubernetes 1.${OLDEST_MINOR} or newer`);
}

function endpoint(url: string, { router, socketPath }: Config): Finding {
  const path = url.replace(/^unix:\/\//, "");
  if (path === router.socketPath) return ok("endpoint", `the kubelet asks the router, ${path}`);
  if (path === socketPath)
    return ok("endpoint", `the kubelet asks vmlet itself, ${path}: this node runs machines only`);
  const remedy = `containerRuntimeEndpoint: unix://${router.socketPath} in the kubelet's configuration (docs/router.md)`;
  return error("endpoint", `the kubelet asks ${path === "" ? "its default runtime" : path}, not vmlet`, remedy);
}

function patience(settings: Settings, flags: ReadonlyMap<string, string>): Finding[] {
  const found: Finding[] = [];
  const isSerial = flags.get("serialize-image-pulls") ?? String(settings.serializeImagePulls ?? true);
  if (isSerial === "true")
    found.push(
      warning(
        "pulls",
        "the kubelet pulls one image at a time: a disk image holds up every container that waits for its own",
        "serializeImagePulls: false and maxParallelImagePulls: 4 in the kubelet's configuration",
      ),
    );
  const timeout = flags.get("runtime-request-timeout") ?? settings.runtimeRequestTimeout ?? `${PATIENT_SECONDS}s`;
  const seconds = secondsOf(timeout);
  if (seconds > 0 && seconds < PATIENT_SECONDS)
    found.push(
      warning(
        "patience",
        `the kubelet gives up on a call after ${timeout}`,
        `runtimeRequestTimeout: ${PATIENT_SECONDS}s or more in the kubelet's configuration`,
      ),
    );
  return found;
}

/** Go's spelling of a duration, `1h2m3.5s`; 0: the default. */
function secondsOf(text: string): number {
  const units: Readonly<Record<string, number>> = { h: 3600, m: 60, s: 1, ms: 0.001 };
  const parts = [...text.matchAll(/([\d.]+)(ms|h|m|s)/g)];
  return parts.reduce((sum, [, amount, unit = ""]) => sum + Number(amount) * (units[unit] ?? 0), 0);
}
