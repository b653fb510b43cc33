// A kubelet that stands alone, started for a test: no API server, pods from manifests in a folder, vmlet as its runtime.

import { existsSync } from "node:fs";
import { mkdir, readdir, readFile, rm, rmdir, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { stringify } from "yaml";
import { mountedHierarchies } from "../../src/kernel/pod-cgroup.ts";
import { certify } from "../fakes/certificate.ts";
import { succeeds } from "./command.ts";
import type { NodeLayout } from "./layout.ts";
import { poll } from "./poll.ts";
import { pidOf, startInBackground, stopByPidFile } from "./process.ts";

/** As static pods are named: `<name in the manifest>-<this>`. */
export const NODE_NAME = "vm-node";

export interface Kubelet extends AsyncDisposable {
  /** Of its HTTPS API. */
  readonly url: string;
  /** What its certificate is trusted by. */
  readonly ca: string;
  /** A manifest in it is a pod. */
  readonly manifestFolderPath: string;
  readonly logPath: string;
  /** Ends it and starts it again. Resolves when its API answers. */
  restart(signal: AbortSignal): Promise<void>;
}

export interface KubeletOptions {
  readonly programPath: string;
  readonly port: number;
  readonly runtimeSocketPath: string;
  /** Beside those that every kubelet of ours has. */
  readonly featureGates?: Readonly<Record<string, boolean>>;
}

/** Kernel settings that a kubelet makes its own. */
const SYSCTLS = ["vm/overcommit_memory", "vm/panic_on_oom", "kernel/panic", "kernel/panic_on_oops"];
/** Folders that it makes at fixed places, whatever it is told. */
const FIXED_PATHS = ["/var/lib/kubelet", "/var/log/containers", "/usr/libexec/kubernetes"];

/** Resolves when its API answers. Disposing ends it and what it left; its pods must be gone before. */
export async function startKubelet(
  layout: Pick<NodeLayout, "networkName" | "podLogFolderPath" | "stateFolderPath">,
  { programPath, port, runtimeSocketPath, featureGates }: KubeletOptions,
  signal: AbortSignal,
): Promise<Kubelet> {
  const folder = join(layout.stateFolderPath, "kubelet");
  const manifestFolderPath = join(folder, "manifests");
  const configPath = join(folder, "config.yaml");
  const background = { pidPath: join(folder, "kubelet.pid"), logPath: join(folder, "kubelet.log") };
  await mkdir(manifestFolderPath, { recursive: true });
  const { keyPath, certPath } = await certify(folder, "kubelet", "subjectAltName=IP:127.0.0.1");
  await using undo = new AsyncDisposableStack();
  for (const path of FIXED_PATHS)
    if (!existsSync(path)) undo.defer(async () => await rm(path, { recursive: true, force: true }));
  const cgroupRoot = `/${layout.networkName}`;
  undo.use(await lendKernel(cgroupRoot));
  await writeFile(
    configPath,
    stringify({
      ...kubeletConfiguration(runtimeSocketPath, cgroupRoot, featureGates),
      staticPodPath: manifestFolderPath,
      podLogsDir: layout.podLogFolderPath,
      address: "127.0.0.1",
      port,
      tlsCertFile: certPath,
      tlsPrivateKeyFile: keyPath,
    }),
  );
  const rootPath = join(folder, "root");
  // It makes that a mount, for volumes' sake.
  undo.defer(async () => void (await succeeds(["/usr/bin/umount", "-l", rootPath], AbortSignal.timeout(10_000))));
  const argv = [programPath, `--config=${configPath}`, `--root-dir=${rootPath}`] as const;
  undo.defer(async () => await stopByPidFile(background.pidPath, configPath, AbortSignal.timeout(60_000)));
  const ca = await readFile(certPath, "utf8");
  const url = `https://127.0.0.1:${port}`;
  const start = async (own: AbortSignal): Promise<void> => {
    const saidBefore = (await readFile(background.logPath, "utf8").catch(() => "")).length;
    await startInBackground([...argv, `--hostname-override=${NODE_NAME}`, "-v=2"], background);
    const answers = async (): Promise<true | undefined> => {
      if ((await pidOf(background.pidPath, configPath)) === undefined) return undefined;
      return (await readFile(background.logPath, "utf8")).includes("Started kubelet", saidBefore) || undefined;
    };
    try {
      await poll(answers, { what: "a kubelet", limitMs: 120_000 }, own);
    } catch (error) {
      const end = (await readFile(background.logPath, "utf8").catch(() => "")).slice(-3000);
      throw new Error(`the kubelet does not start:\n${end}`, { cause: error });
    }
  };
  await start(signal);
  const parts = undo.move();
  return {
    url,
    ca,
    manifestFolderPath,
    logPath: background.logPath,
    restart: async (own) => {
      await stopByPidFile(background.pidPath, configPath, own);
      await start(own);
    },
    [Symbol.asyncDispose]: async () => await parts.disposeAsync(),
  };
}

/** What every kubelet of a test is told. */
export function kubeletConfiguration(
  runtimeSocketPath: string,
  cgroupRoot: string,
  featureGates: Readonly<Record<string, boolean>> = {},
): Readonly<Record<string, unknown>> {
  return {
    apiVersion: "kubelet.config.k8s.io/v1beta1",
    kind: "KubeletConfiguration",
    containerRuntimeEndpoint: `unix://${runtimeSocketPath}`,
    healthzPort: 0,
    readOnlyPort: 0,
    authentication: { anonymous: { enabled: true }, webhook: { enabled: false } },
    authorization: { mode: "AlwaysAllow" },
    cgroupRoot,
    cgroupDriver: "cgroupfs",
    enforceNodeAllocatable: [],
    failCgroupV1: false,
    failSwapOn: false,
    makeIPTablesUtilChains: false,
    // Figures by CRI, the network's too; without it they are cAdvisor's, which knows nothing of machines' networks.
    featureGates: { PodAndContainerStatsFromCRI: true, ...featureGates },
    // A test machine may be as full as it likes.
    evictionHard: { "memory.available": "0%", "nodefs.available": "0%", "imagefs.available": "0%" },
    imageGCHighThresholdPercent: 100,
    // What docs/install.md says.
    serializeImagePulls: false,
    maxParallelImagePulls: 4,
    runtimeRequestTimeout: "2m",
  };
}

/** What a kubelet makes its own of the kernel's, cgroups below that root included; at the end it is as it was. */
export async function lendKernel(cgroupRoot: string): Promise<AsyncDisposable> {
  await using undo = new AsyncDisposableStack();
  for (const path of SYSCTLS.map((name) => join("/proc/sys", name))) {
    const before = await readFile(path, "utf8");
    undo.defer(async () => await writeFile(path, before));
  }
  for (const { path: root } of await mountedHierarchies()) {
    const path = join(root, cgroupRoot);
    undo.defer(async () => await removeCgroups(path));
    await mkdir(path, { recursive: true });
    for (const name of ["cpuset.cpus", "cpuset.mems"])
      if (existsSync(join(path, name)) && root.endsWith("cpuset"))
        await writeFile(join(path, name), await readFile(join(root, name), "utf8"));
  }
  return undo.move();
}

/** The deepest first; processes in them belong to pods that are gone by now. */
async function removeCgroups(path: string): Promise<void> {
  for (const entry of await readdir(path, { withFileTypes: true }).catch(() => []))
    if (entry.isDirectory()) await removeCgroups(join(path, entry.name));
  await rmdir(path).catch(() => {}); // the kubelet removed it
}
