// Composition root: builds every part in order, disposes in reverse. Read top to bottom it is the architecture.

import { existsSync } from "node:fs";
import { join } from "node:path";
import { vmletService } from "./api/service.ts";
import { createNetwork } from "./cni/adapter.ts";
import { redact } from "./config/redact.ts";
import type { Config } from "./config/schema.ts";
import { createConsoleLogs } from "./console/adapter.ts";
import { serveCri } from "./cri/serve.ts";
import { takeCensus } from "./engine/census.ts";
import { createEngine, type Engine } from "./engine/engine.ts";
import type { EngineOptions, Ports } from "./engine/parts.ts";
import { VmletService } from "./gen/vmlet.ts";
import { createGuestFilesystems } from "./guest/filesystems.ts";
import { createSeed } from "./guest/seed.ts";
import { qemuImgDisks } from "./images/overlay.ts";
import type { PullProgress } from "./images/progress.ts";
import { openImageStore } from "./images/store.ts";
import { cgroupDriverOf, createCgroupLookup, MACHINED_PATH, SYSTEMD_PATH } from "./kernel/cgroups.ts";
import { createHostFiles } from "./kernel/host-files.ts";
import { createMachineCgroups } from "./kernel/machine-cgroup.ts";
import { createMeter } from "./kernel/meter.ts";
import { createNetns } from "./kernel/netns.ts";
import { createWiring } from "./kernel/wiring.ts";
import { findQemuUser } from "./lib/qemu-user.ts";
import { run } from "./lib/spawn.ts";
import { vmletVersion } from "./lib/version.ts";
import { openHypervisor } from "./libvirt/adapter.ts";
import type { Logger } from "./ports/logger.ts";
import { openPodStore } from "./store/adapter.ts";
import { claimStateFolder } from "./store/claim.ts";
import type { StartOptions } from "./streaming/protocol.ts";
import { superviseStreaming } from "./streaming/supervisor.ts";
import { Metrics } from "./telemetry/metrics.ts";
import { serveMetrics } from "./telemetry/metrics-server.ts";

const SEED_TOOL_PATH = "/usr/bin/genisoimage";

/** Resolves when CRI is served. Disposing ends the serving and leaves every VM as it is. */
export async function startDaemon(config: Config, log: Logger, signal: AbortSignal): Promise<AsyncDisposable> {
  await using parts = new AsyncDisposableStack();
  const { stateFolderPath, runFolderPath } = config;
  const clock = { nowMs: () => Date.now() };

  parts.use(await claimStateFolder(stateFolderPath));
  const metrics = new Metrics(vmletVersion());
  const served: { engine?: Engine } = {};
  const whyNotReady = async (asking: AbortSignal) => await whyNotServed(served.engine, asking);
  const { registry } = metrics;
  parts.use(serveMetrics(config.metrics.listen, { registry, whyNotReady, log: log.child("metrics") }));
  const qemu = await findQemuUser();
  const folders = { stateFolderPath, runFolderPath, ...(qemu && { qemuUid: qemu.uid }) };
  const store = await openPodStore(folders, { log: log.child("store") }, signal);
  const images = parts.use(
    await openImageStore(
      { ...config.images, rootPath: join(stateFolderPath, "images"), ...(qemu && { qemuGid: qemu.gid }) },
      { run, clock, log: log.child("images"), onProgress: logProgress(log.child("images")), observer: metrics },
      signal,
    ),
  );
  const hypervisor = parts.use(await openHypervisor(config.libvirt, { log: log.child("libvirt") }, signal));
  hypervisor.listen(({ type }) => type === "reconnected" && metrics.libvirtReconnected());
  const network = createNetwork(
    { ...config.cni, cacheFolderPath: join(stateFolderPath, "cni") },
    { run, log: log.child("cni") },
  );
  const kernelOptions = { ...config.kernel, dhcpFolderPath: join(runFolderPath, "dhcp") };
  const wiring = createWiring(kernelOptions, { run, log: log.child("wiring") });
  const meter = createMeter(kernelOptions, { clock, run, pidOf: async (machine) => await hypervisor.pidOf(machine) });
  const cgroupOptions = { cgroupFolderPath: join(runFolderPath, "cgroups") };
  const consoleLogs = parts.use(createConsoleLogs(config.console, { clock, log: log.child("console") }));

  const streaming = parts.use(
    superviseStreaming(streamingOptions(config), { log: log.child("streaming"), nodePath: process.execPath }),
  );

  const ports: Ports = {
    clock,
    consoleLogs,
    disks: qemuImgDisks({ run }),
    guestFilesystems: createGuestFilesystems(async (...asked) => await hypervisor.askAgent(...asked)),
    guests: streaming,
    hostFiles: createHostFiles({ run }),
    hypervisor,
    images,
    log: log.child("engine"),
    machineCgroups: createMachineCgroups(cgroupOptions, { log: log.child("cgroups") }),
    meter,
    netns: createNetns({ run }),
    network,
    observer: metrics,
    seed: createSeed({ run, isoTool: SEED_TOOL_PATH }),
    store,
    streaming,
    wiring,
  };
  const living = parts.use(createEngine(ports, engineOptions(config), await store.load(signal)));
  streaming.answer({
    untilEnded: async (subject, asking) => await living.engine.untilEnded(subject, asking),
    askAgent: async ({ machineId, command }, asking) => await hypervisor.askAgent(machineId, command, asking),
  });
  metrics.ask({
    census: () => takeCensus(living.engine.pods),
    images: () => images.list(),
    pulls: () => images.pulls(),
    imageStoreBytes: async () => (await images.usage()).usedBytes,
  });
  await recoverIfPossible(living, log, signal); // before anyone may call
  const cgroupDriver = cgroupDriverOf(config.cgroupDriver, { hasSystemd: existsSync(SYSTEMD_PATH) });
  const { socketPath } = config;
  const { handlers } = config.router;
  const effectiveConfig = redact(config);
  const serveOptions = {
    socketPath,
    cgroupDriver,
    effectiveConfig,
    handlers,
    log: log.child("cri"),
    observer: metrics,
  };
  const implementation = vmletService(living.engine, { log: log.child("api"), observer: metrics });
  parts.use(await serveCri(serveOptions, living.engine, [{ definition: VmletService, implementation }]));
  served.engine = living.engine;
  parts.defer(() => void delete served.engine);
  return parts.move();
}

async function whyNotServed(engine: Engine | undefined, signal: AbortSignal): Promise<string | undefined> {
  if (engine === undefined) return "CRI is not served";
  const health = await engine.health(signal);
  return health.isReady ? undefined : `libvirtd: ${health.why}`;
}

/** Without libvirtd the lists are still served from the records; the engine goes on trying. */
async function recoverIfPossible(
  living: ReturnType<typeof createEngine>,
  log: Logger,
  signal: AbortSignal,
): Promise<void> {
  try {
    await living.recover(signal);
  } catch (error) {
    signal.throwIfAborted();
    log.error("recovery waits for libvirtd", { error });
  }
}

function engineOptions(config: Config): EngineOptions {
  return {
    ...config.machine,
    cgroupExists: createCgroupLookup(),
    hasMachined: existsSync(SYSTEMD_PATH) && existsSync(MACHINED_PATH),
  };
}

function streamingOptions({ streaming, logLevel }: Config): StartOptions {
  const { listen, certificatePath, keyPath, idleMs, creationMs } = streaming;
  const hasTls = certificatePath !== undefined && keyPath !== undefined;
  return { ...listen, ...(hasTls ? { tls: { certificatePath, keyPath } } : {}), idleMs, creationMs, logLevel };
}

function logProgress(log: Logger): (progress: PullProgress) => void {
  return ({ isDone, ...facts }) => log.info(isDone ? "image received" : "image is being received", { ...facts });
}
