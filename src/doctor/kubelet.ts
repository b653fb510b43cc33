// The kubelet of this node: does it come to us, and does it have patience for machines?

import { join, resolve } from "node:path";
import { parse } from "yaml";
import { z } from "zod";
import type { Config } from "../config/schema.ts";
import { error, type Finding, ok, warning } from "./finding.ts";
import type { Node } from "./node.ts";

/** Kubelets before it send an `:authority` that Node's HTTP/2 refuses. */
const OLDEST_MINOR = 31;
/** The kubelet's own default; a machine that is asked to stop may take longer. */
const PATIENT_SECONDS = 120;

/** Where it was installed; beside this program. */
const TO_THE_ROUTER = resolve(import.meta.dirname, "../../packaging/kubelet-endpoint");

const settingsSchema = z.looseObject({
  containerRuntimeEndpoint: z.string().optional(),
  imageServiceEndpoint: z.string().optional(),
  serializeImagePulls: z.boolean().optional(),
  runtimeRequestTimeout: z.string().optional(),
});
type Settings = z.infer<typeof settingsSchema>;

/** What the kubelet goes by: a flag beats its files. */
interface Kubelet {
  readonly pid: string;
  readonly flags: ReadonlyMap<string, string>;
  readonly settings: Settings;
}

export async function checkKubelet(node: Node, config: Config, signal: AbortSignal): Promise<Finding[]> {
  const found = await find(node);
  if (found === undefined)
    return [warning("kubelet", "none runs here", "start it after vmlet; then call vmlet doctor again")];
  const kubelet = { ...found, settings: await settingsOf(node, found) };
  return [
    await version(node, kubelet.pid, signal),
    await endpoint(node, kubelet, config),
    images(kubelet),
    pulls(kubelet),
    patience(kubelet),
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

/** As the kubelet sees its own files: it may run in a root of its own. Those of `--config-dir` come after `--config`. */
async function settingsOf(node: Node, { pid, flags }: Omit<Kubelet, "settings">): Promise<Settings> {
  const root = `/proc/${pid}/root`;
  const [file, folder] = [flags.get("config"), flags.get("config-dir")];
  const more = folder === undefined ? [] : (await node.list(root + folder)).filter((name) => name.endsWith(".conf"));
  const paths = [...(file === undefined ? [] : [file]), ...more.toSorted().map((name) => join(folder ?? "", name))];
  const all = await Promise.all(paths.map(async (path) => settingsIn((await node.read(root + path)) ?? "")));
  return all.reduce((settings, later) => ({ ...settings, ...later }), {});
}

function settingsIn(text: string): Settings {
  try {
    return settingsSchema.catch({}).parse(parse(text) ?? {});
  } catch {
    return {}; // the kubelet itself would not have started with it
  }
}

/** Where a setting has to be changed: in the file, unless a flag beats it. */
function where(flags: Kubelet["flags"], flag: string, setting: string, value: string): string {
  return flags.has(flag)
    ? `--${flag}=${value} on the kubelet's command line, where it counts more than in its configuration`
    : `${setting}: ${value} in the kubelet's configuration`;
}

async function version(node: Node, pid: string, signal: AbortSignal): Promise<Finding | undefined> {
  const { stdout } = await node.run(`/proc/${pid}/exe`, ["--version"], {}, signal);
  const [text, minor] = /v1\.(\d+)\.\S+/.exec(stdout.toString("utf8")) ?? [];
  if (text === undefined) return undefined;
  if (Number(minor) >= OLDEST_MINOR) return ok("kubelet", text);
  return error("kubelet", `${text} cannot speak to Node's HTTP/2`, `Kubernetes 1.${OLDEST_MINOR} or newer`);
}

async function endpoint(node: Node, { pid, flags, settings }: Kubelet, config: Config): Promise<Finding> {
  const { router, socketPath } = config;
  const flag = "container-runtime-endpoint";
  const path = pathOf(flags.get(flag) ?? settings.containerRuntimeEndpoint ?? "");
  if (path === socketPath)
    return ok("endpoint", `the kubelet asks vmlet itself, ${path}: this node runs machines only`);
  if (path !== router.socketPath)
    return error(
      "endpoint",
      `the kubelet asks ${path === "" ? "its default runtime" : path}, not vmlet`,
      `${TO_THE_ROUTER} use; or ${where(flags, flag, "containerRuntimeEndpoint", `unix://${router.socketPath}`)}`,
    );
  if (!(await node.answers(path)))
    return error(
      "endpoint",
      `the kubelet asks the router, and nobody answers on ${path}`,
      "systemctl restart vmlet-router",
    );
  const asTheNodeSeesIt = `/proc/${pid}/root${router.containersSocketPath}`;
  if (!(await node.answers(asTheNodeSeesIt)))
    return error(
      "endpoint",
      `the kubelet asks the router, which finds no containers' runtime on ${router.containersSocketPath}`,
      "router.containersSocketPath: the socket of containerd or CRI-O; then systemctl restart vmlet-router",
    );
  return ok("endpoint", `the kubelet asks the router, ${path}`);
}

/** Images are asked of the runtime, unless that is set otherwise. */
function images({ flags, settings }: Kubelet): Finding | undefined {
  const flag = "image-service-endpoint";
  const own = pathOf(flags.get(flag) ?? settings.imageServiceEndpoint ?? "");
  const runtime = pathOf(flags.get("container-runtime-endpoint") ?? settings.containerRuntimeEndpoint ?? "");
  if (own === "" || own === runtime) return undefined;
  const remedy = flags.has(flag) ? `no --${flag} on its command line` : "no imageServiceEndpoint in its configuration";
  return error("images", `the kubelet asks ${own} for images, which has none of machines`, remedy);
}

const pathOf = (url: string): string => url.replace(/^unix:\/\//, "");

function pulls({ flags, settings }: Kubelet): Finding | undefined {
  const flag = "serialize-image-pulls";
  const isSerial = flags.get(flag) ?? String(settings.serializeImagePulls ?? true);
  if (isSerial !== "true") return undefined;
  return warning(
    "pulls",
    "the kubelet pulls one image at a time: a disk image holds up every container that waits for its own",
    `${where(flags, flag, "serializeImagePulls", "false")}; and maxParallelImagePulls: 4`,
  );
}

function patience({ flags, settings }: Kubelet): Finding | undefined {
  const flag = "runtime-request-timeout";
  const timeout = flags.get(flag) ?? settings.runtimeRequestTimeout ?? `${PATIENT_SECONDS}s`;
  const seconds = secondsOf(timeout);
  if (seconds === 0 || seconds >= PATIENT_SECONDS) return undefined;
  const remedy = where(flags, flag, "runtimeRequestTimeout", `${PATIENT_SECONDS}s`);
  return warning("patience", `the kubelet gives up on a call after ${timeout}`, remedy);
}

/** Go's spelling of a duration, `1h2m3.5s`; 0: the default. */
function secondsOf(text: string): number {
  const units: Readonly<Record<string, number>> = { h: 3600, m: 60, s: 1, ms: 0.001 };
  const parts = [...text.matchAll(/([\d.]+)(ms|h|m|s)/g)];
  return parts.reduce((sum, [, amount, unit = ""]) => sum + Number(amount) * (units[unit] ?? 0), 0);
}
