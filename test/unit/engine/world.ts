// An engine among fakes, with a hand for everything that may go wrong.

import { createEngine, type LivingEngine } from "../../../src/engine/engine.ts";
import type { EngineOptions, Ports } from "../../../src/engine/parts.ts";
import type { MachineSpec } from "../../../src/model/machine.ts";
import type { PodSpec } from "../../../src/model/pod.ts";
import { FakeHypervisor } from "../../fakes/hypervisor.ts";
import { FakeImageStore } from "../../fakes/image-store.ts";
import { FakeMachineCgroups } from "../../fakes/machine-cgroups.ts";
import { FakeMeter } from "../../fakes/meter.ts";
import { FakeNetns } from "../../fakes/netns.ts";
import { FakeNetwork } from "../../fakes/network.ts";
import { FakePodStore } from "../../fakes/pod-store.ts";
import {
  FakeClock,
  FakeConsoleLogs,
  FakeDisks,
  FakeGuestFilesystems,
  FakeGuests,
  FakeSeed,
  FakeStreaming,
  fakeHostFiles,
  silentLog,
} from "../../fakes/small-ports.ts";
import { FakeWiring } from "../../fakes/wiring.ts";
import { Mishaps } from "./mishaps.ts";

export const IMAGE = "vmlet.dev/https/example.org/disk.qcow2:latest";

const OPTIONS: EngineOptions = {
  defaultMemoryBytes: 512 << 20,
  overheadBytes: 96 << 20,
  minMemoryBytes: 64 << 20,
  bootMs: 100_000,
  giveBackMs: 50,
  cgroupExists: () => false,
  hasMachined: false,
};

export const soon = (): AbortSignal => AbortSignal.timeout(20_000);

/** What every fake has now; a test reaches in. */
export class World {
  readonly clock = new FakeClock();
  readonly consoleLogs = new FakeConsoleLogs();
  readonly disks = new FakeDisks();
  readonly guestFilesystems = new FakeGuestFilesystems();
  readonly guests = new FakeGuests();
  readonly hypervisor = new FakeHypervisor();
  readonly images = new FakeImageStore();
  readonly machineCgroups = new FakeMachineCgroups();
  readonly meter = new FakeMeter();
  readonly netns = new FakeNetns();
  readonly network = new FakeNetwork();
  readonly seed = new FakeSeed();
  readonly store = new FakePodStore();
  readonly streaming = new FakeStreaming();
  readonly wiring = new FakeWiring();
  /** Operations whose undo failed. */
  readonly undoFailures: string[] = [];
  /** Of everything that an engine calls. */
  readonly mishaps = new Mishaps(() => this.hypervisor.comeBack());
  living: LivingEngine | undefined;

  readonly #options: EngineOptions;

  constructor(options: Partial<EngineOptions> = {}) {
    this.#options = { ...OPTIONS, ...options };
    this.images.offer(IMAGE, { content: "a disk" });
  }

  /** Starts an engine on what the store has, as a daemon does; the one before is taken as killed. */
  async start(): Promise<LivingEngine> {
    this.mishaps.beginAnew();
    this.consoleLogs.followed.clear(); // who followed is dead
    const ports: Ports = {
      clock: this.clock,
      consoleLogs: this.#watched("consoleLogs", this.consoleLogs),
      disks: this.#watched("disks", this.disks),
      guestFilesystems: this.guestFilesystems,
      guests: this.#watched("guests", this.guests),
      hostFiles: this.#watched("hostFiles", fakeHostFiles),
      hypervisor: this.#watched("hypervisor", this.hypervisor),
      images: this.#watched("images", this.images),
      log: silentLog,
      machineCgroups: this.#watched("machineCgroups", this.machineCgroups),
      meter: this.meter,
      netns: this.#watched("netns", this.netns),
      network: this.#watched("network", this.network),
      observer: { undoFailed: (operation) => void this.undoFailures.push(operation) },
      seed: this.#watched("seed", this.seed),
      store: this.#watched("store", this.store),
      streaming: this.streaming,
      wiring: this.#watched("wiring", this.wiring),
    };
    this.living = createEngine(ports, this.#options, await this.store.load(soon()));
    return this.living;
  }

  /** What is in memory is gone: QEMUs, network namespaces and what is in them. */
  rebootNode(): void {
    this.hypervisor.rebootNode();
    this.netns.existing.clear();
    this.wiring.wired.clear();
    this.machineCgroups.placed.clear();
  }

  /** Everything that a pod or a machine takes and must give back. */
  async leftovers(): Promise<Record<string, unknown>> {
    const stored = await this.store.load(soon());
    const left = {
      pods: stored.pods.map(({ state }) => state.at),
      machines: stored.machines.map(({ state }) => state.at),
      netns: [...this.netns.existing],
      attached: [...this.network.attached.keys()],
      wired: [...this.wiring.wired.keys()],
      placed: [...this.machineCgroups.placed.keys()],
      followed: [...this.consoleLogs.followed.keys()],
      domains: (await this.hypervisor.list(soon())).map(({ condition }) => condition.is),
      held: this.images.heldBy(),
    };
    return Object.fromEntries(Object.entries(left).filter(([, value]) => value.length > 0));
  }

  /**
   * All there is, to be compared with another world's. Left out: what is only intended, for nobody is told of it and
   * recovery or the end of its pod takes it, and pids.
   */
  async picture(): Promise<Record<string, unknown>> {
    const stored = await this.store.load(soon());
    const machines = stored.machines.filter(({ state }) => state.at !== "intended");
    const inFolders = (path: string): boolean =>
      machines.some(({ facts }) => path.startsWith(this.store.pathsOf(facts.podId, facts.machineId).folderPath));
    return {
      pods: stored.pods.filter(({ state }) => state.at !== "intended"),
      machines,
      netns: [...this.netns.existing],
      attached: [...this.network.attached],
      wired: [...this.wiring.wired],
      placed: [...this.machineCgroups.placed].map(([id, { cgroupPath, cpu }]) => ({ id, cgroupPath, cpu })),
      followed: [...this.consoleLogs.followed],
      domains: (await this.hypervisor.list(soon())).map(({ machineId, condition }) => ({
        plan: this.hypervisor.planOf(machineId),
        tuned: this.hypervisor.tunedTo(machineId),
        pinned: this.hypervisor.pinnedTo(machineId),
        memoryBytes: this.hypervisor.memoryOf(machineId),
        condition,
      })),
      images: this.images.list().map(({ digest }) => digest),
      held: this.images.heldBy(),
      overlays: [...this.disks.overlays].filter(([path]) => inFolders(path)),
      seeds: [...this.seed.built].filter(([path]) => inFolders(path)),
    };
  }

  #watched<T extends object>(name: string, port: T): T {
    return this.mishaps.watch(name, port, (call) => NEVER_FAIL.has(call));
  }
}

/** Calls that are synchronous or never throw by their contract. */
const NEVER_FAIL = new Set([
  "hypervisor.listen",
  "hypervisor.pidOf",
  "images.find",
  "images.list",
  "images.pulls",
  "netns.pathOf",
  "store.pathsOf",
  "network.status",
]);

export function podSpec(over: Partial<PodSpec> = {}): PodSpec {
  return {
    name: "web",
    namespace: "default",
    uid: "uid-1",
    attempt: 0,
    hostname: "web",
    logFolderPath: "/var/log/pods/default_web_uid-1",
    dns: { servers: ["10.96.0.10"], searches: ["default.svc.cluster.local"], options: [] },
    portMappings: [],
    labels: { app: "web" },
    annotations: {},
    runtimeHandler: "vmlet",
    pidMode: "container",
    sysctls: {},
    cgroupParent: "",
    overhead: {},
    ...over,
  };
}

export function machineSpec(over: Partial<MachineSpec> = {}): MachineSpec {
  return {
    name: "vm",
    attempt: 0,
    image: IMAGE,
    userImage: IMAGE,
    command: [],
    args: [],
    workingDir: "",
    env: [],
    mounts: [],
    labels: {},
    annotations: {},
    logPath: "/var/log/pods/default_web_uid-1/vm/0.log",
    resources: {},
    stopSignal: 0,
    ...over,
  };
}
