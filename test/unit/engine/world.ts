// An engine among fakes, with a hand for everything that may go wrong: each port call can be made to fail.

import { createEngine, type LivingEngine } from "../../../src/engine/engine.ts";
import type { EngineOptions, Ports } from "../../../src/engine/parts.ts";
import type { MachineSpec } from "../../../src/model/machine.ts";
import type { PodSpec } from "../../../src/model/pod.ts";
import { FakeHypervisor } from "../../fakes/hypervisor.ts";
import { FakeImageStore } from "../../fakes/image-store.ts";
import { FakeMeter } from "../../fakes/meter.ts";
import { FakeNetns } from "../../fakes/netns.ts";
import { FakeNetwork } from "../../fakes/network.ts";
import { FakePodStore } from "../../fakes/pod-store.ts";
import {
  FakeClock,
  FakeConsoleLogs,
  FakeDisks,
  FakeGuests,
  FakeSeed,
  fakeHostFiles,
  silentLog,
} from "../../fakes/small-ports.ts";
import { FakeWiring } from "../../fakes/wiring.ts";

export const IMAGE = "vmlet.dev/https/example.org/disk.qcow2:latest";

const OPTIONS: EngineOptions = {
  defaultMemoryBytes: 512 << 20,
  overheadBytes: 96 << 20,
  minMemoryBytes: 64 << 20,
  cgroupExists: () => false,
  hasMachined: false,
};

export const soon = (): AbortSignal => AbortSignal.timeout(5_000);

/** What every fake has now; a test reaches in. */
export class World {
  readonly clock = new FakeClock();
  readonly consoleLogs = new FakeConsoleLogs();
  readonly disks = new FakeDisks();
  readonly guests = new FakeGuests();
  readonly hypervisor = new FakeHypervisor();
  readonly images = new FakeImageStore();
  readonly meter = new FakeMeter();
  readonly netns = new FakeNetns();
  readonly network = new FakeNetwork();
  readonly seed = new FakeSeed();
  readonly store = new FakePodStore();
  readonly wiring = new FakeWiring();
  /** Operations whose undo failed. */
  readonly undoFailures: string[] = [];
  /** Names of the changing port calls so far, in order. */
  readonly calls: string[] = [];
  /** Fails the call of that number, counted from when it was set. */
  #failAt = Number.POSITIVE_INFINITY;
  #dieAt = Number.POSITIVE_INFINITY;
  readonly #death = Promise.withResolvers<void>();
  readonly dead = this.#death.promise;
  #generation = 0;
  living: LivingEngine | undefined;

  constructor() {
    this.images.offer(IMAGE, { content: "a disk" });
  }

  /** The call is refused before it does anything (`before`) or after it has done all (`after`). */
  failing: "before" | "after" = "before";

  failCall(number: number): void {
    this.calls.length = 0;
    this.#failAt = number;
  }

  /** As kill -9 at that call: it never returns, and what called it never goes on. `dead` tells when. */
  dieAt(number: number, when: "before" | "after"): void {
    this.calls.length = 0;
    this.#dieAt = number;
    this.failing = when;
  }

  healAll(): void {
    this.#failAt = Number.POSITIVE_INFINITY;
  }

  /** Starts an engine on what the store has, as a daemon does; the one before is taken as killed. */
  async start(): Promise<LivingEngine> {
    this.#generation += 1;
    this.#dieAt = Number.POSITIVE_INFINITY;
    const ports: Ports = {
      clock: this.clock,
      consoleLogs: this.#watched("consoleLogs", this.consoleLogs),
      disks: this.#watched("disks", this.disks),
      guests: this.guests,
      hostFiles: fakeHostFiles,
      hypervisor: this.#watched("hypervisor", this.hypervisor),
      images: this.#watched("images", this.images),
      log: silentLog,
      meter: this.meter,
      netns: this.#watched("netns", this.netns),
      network: this.#watched("network", this.network),
      observer: { undoFailed: (operation) => void this.undoFailures.push(operation) },
      seed: this.#watched("seed", this.seed),
      store: this.#watched("store", this.store),
      wiring: this.#watched("wiring", this.wiring),
    };
    this.living = createEngine(ports, OPTIONS, await this.store.load(soon()));
    return this.living;
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
      followed: [...this.consoleLogs.followed.keys()],
      domains: (await this.hypervisor.list(soon())).map(({ condition }) => condition.is),
      held: this.images.heldBy(),
    };
    return Object.fromEntries(Object.entries(left).filter(([, value]) => value.length > 0));
  }

  async #die(never: Promise<never>): Promise<never> {
    this.#generation += 1;
    this.#death.resolve();
    return await never;
  }

  #watched<T extends object>(name: string, port: T): T {
    const generation = this.#generation;
    const never = new Promise<never>(() => {});
    return new Proxy(port, {
      get: (target, key) => {
        const member: unknown = Reflect.get(target, key, target);
        if (typeof member !== "function") return member;
        if (typeof key === "symbol" || READS.has(`${name}.${key}`)) return member.bind(target);
        return async (...args: unknown[]) => {
          if (generation !== this.#generation) return await never; // a killed daemon does nothing more
          this.calls.push(`${name}.${key}`);
          const dies = this.calls.length === this.#dieAt;
          if (dies && this.failing === "before") return await this.#die(never);
          const fails = this.calls.length === this.#failAt;
          if (fails && this.failing === "before") throw new Error(`${name}.${key} was made to fail`);
          const result: unknown = await member.apply(target, args);
          if (fails) throw new Error(`${name}.${key} was made to fail afterwards`);
          if (dies) return await this.#die(never);
          return result;
        };
      },
    });
  }
}

/** Calls that are synchronous or never throw by their contract. */
const READS = new Set([
  "hypervisor.listen",
  "images.find",
  "images.list",
  "images.pulls",
  "netns.pathOf",
  "seed.readInitReport",
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
