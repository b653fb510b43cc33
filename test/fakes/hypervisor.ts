// A hypervisor in memory that behaves like libvirt as far as the engine can see, with a hand for everything outside.

import { VmletError } from "../../src/model/failure.ts";
import type { MachineId } from "../../src/model/ids.ts";
import type { CpuPlan, MachinePlan } from "../../src/model/machine-plan.ts";
import type {
  AgentCommand,
  GuestMemory,
  Hypervisor,
  HypervisorInfo,
  MachineCondition,
  MachineSighting,
  MachineSignal,
  MachineSize,
} from "../../src/ports/hypervisor.ts";

export type HypervisorCall = Exclude<keyof Hypervisor, "listen">;

/** How a guest answers when it is asked to power off. */
export type GuestManners = "obeys" | "obeys-acpi-only" | "deaf";

type HowItStopped = Extract<MachineSignal, { type: "stopped" }>["how"];

/** What a guest's agent answers; absent: there is none. */
export type FakeAgent = (command: AgentCommand) => unknown;

interface FakeDomain {
  readonly plan: MachinePlan;
  condition: MachineCondition;
  manners: GuestManners;
  isStuck: boolean;
  tuned?: CpuPlan;
  pinned?: string;
  /** What the balloon leaves it, while it is on. */
  memoryBytes?: number;
  guestMemory?: GuestMemory;
  /** Its guest has no driver for the balloon. */
  keepsMemory?: true;
  pid?: number;
  lastPid?: number;
  agent?: FakeAgent;
}

const OPERATION_INVALID = 55;
const AGENT_UNRESPONSIVE = 86;
const VIR_FROM_QEMU = 10;

/** Signals are given in order, in a microtask after the change, as from another process. */
export class FakeHypervisor implements Hypervisor {
  /** Every call that was made, in order, the failed ones included. */
  readonly calls: { readonly call: HypervisorCall; readonly machineId?: MachineId }[] = [];
  /** Runs before each call takes effect; throwing makes that call fail. */
  beforeCall: (call: HypervisorCall, machineId?: MachineId) => void | Promise<void> = () => {};
  /** Runs after each call took effect; throwing makes a call fail whose work is done. */
  afterCall: (call: HypervisorCall, machineId?: MachineId) => void | Promise<void> = () => {};
  /** How guests of machines that are defined from now on answer. */
  manners: GuestManners = "obeys";
  readonly #domains = new Map<MachineId, FakeDomain>();
  readonly #listeners = new Set<(event: MachineSignal) => void>();
  #isGone = false;
  #nextPid = 1_000_000; // above any real pid, so that nothing is ever killed by it

  async probe(signal: AbortSignal): Promise<HypervisorInfo> {
    return this.#serve("probe", undefined, signal, () => ({
      libvirtVersion: "9.0.0",
      qemuVersion: "7.2.19",
      virtualization: "emulated",
    }));
  }

  async define(plan: MachinePlan, signal: AbortSignal): Promise<void> {
    return this.#serve("define", plan.machineId, signal, () => {
      if (this.#domains.has(plan.machineId)) return;
      const condition: MachineCondition = { is: "off", ended: "never-started" };
      this.#domains.set(plan.machineId, { plan, condition, manners: this.manners, isStuck: false });
    });
  }

  async startPaused(machineId: MachineId, signal: AbortSignal): Promise<void> {
    return this.#serve("startPaused", machineId, signal, () => {
      const domain = this.#domainOf(machineId);
      if (domain.condition.is === "on") throw refused("startPaused", OPERATION_INVALID, "domain is already running");
      this.#turnOn(domain, { is: "on", paused: "start" });
      this.#tell({ type: "paused", machineId });
    });
  }

  async resume(machineId: MachineId, signal: AbortSignal): Promise<void> {
    return this.#serve("resume", machineId, signal, () => {
      const domain = this.#running(machineId, "resume");
      if (domain.condition.is === "on" && domain.condition.paused === undefined) return;
      domain.condition = { is: "on" };
      this.#tell({ type: "resumed", machineId });
    });
  }

  async tune(machineId: MachineId, cpu: CpuPlan, signal: AbortSignal): Promise<void> {
    return this.#serve("tune", machineId, signal, () => {
      this.#running(machineId, "tune").tuned = cpu;
    });
  }

  async pin(machineId: MachineId, { cpuset }: Pick<CpuPlan, "cpuset">, signal: AbortSignal): Promise<void> {
    return this.#serve("pin", machineId, signal, () => {
      const domain = this.#running(machineId, "pin");
      if (cpuset !== undefined) domain.pinned = cpuset;
    });
  }

  async setMemory(machineId: MachineId, memoryBytes: number, signal: AbortSignal): Promise<void> {
    return this.#serve("setMemory", machineId, signal, () => {
      const domain = this.#running(machineId, "setMemory");
      if (!domain.keepsMemory) domain.memoryBytes = memoryBytes;
    });
  }

  async sizes(machineIds: readonly MachineId[], signal: AbortSignal): Promise<ReadonlyMap<MachineId, MachineSize>> {
    return this.#serve("sizes", undefined, signal, () => {
      const on = machineIds.flatMap((machineId) => {
        const domain = this.#domains.get(machineId);
        return domain?.condition.is === "on" ? [domain] : [];
      });
      return new Map(on.map((domain) => [domain.plan.machineId, sizeOf(domain)]));
    });
  }

  async askToPowerOff(machineId: MachineId, via: "agent" | "acpi", signal: AbortSignal): Promise<void> {
    return this.#serve("askToPowerOff", machineId, signal, () => {
      const domain = this.#running(machineId, "askToPowerOff");
      if (via === "agent" && domain.manners !== "obeys") {
        throw refused("askToPowerOff", AGENT_UNRESPONSIVE, "QEMU guest agent is not connected");
      }
      const isPaused = domain.condition.is === "on" && domain.condition.paused !== undefined;
      if (domain.manners !== "deaf" && !isPaused) this.#turnOff(domain, "shutdown");
    });
  }

  async askAgent(machineId: MachineId, command: AgentCommand, signal: AbortSignal): Promise<unknown> {
    return this.#serve("askAgent", machineId, signal, () => {
      const domain = this.#running(machineId, "askAgent");
      if (domain.agent !== undefined) return domain.agent(command);
      const name = domain.plan.domainName;
      throw new VmletError({ code: "AGENT_ABSENT", domain: name }, `domain ${name} has no guest agent that answers`);
    });
  }

  async destroy(machineId: MachineId, signal: AbortSignal): Promise<void> {
    return this.#serve("destroy", machineId, signal, () => {
      const domain = this.#domains.get(machineId);
      if (domain?.condition.is === "on") this.#turnOff(domain, "destroyed");
    });
  }

  async undefine(machineId: MachineId, signal: AbortSignal): Promise<void> {
    return this.#serve("undefine", machineId, signal, () => {
      const domain = this.#domains.get(machineId);
      if (domain === undefined) return;
      if (domain.condition.is === "on") {
        throw new VmletError(
          { code: "WRONG_STATE", subject: `domain ${domain.plan.domainName}`, state: "on" },
          `domain ${domain.plan.domainName} is on: destroy it before it is forgotten`,
        );
      }
      this.#domains.delete(machineId);
      this.#tell({ type: "undefined", machineId });
    });
  }

  async look(machineId: MachineId, signal: AbortSignal): Promise<MachineSighting | undefined> {
    return this.#serve("look", machineId, signal, () => {
      const domain = this.#domains.get(machineId);
      return domain && sightingOf(domain);
    });
  }

  async pidOf({ machineId }: { readonly machineId: MachineId }): Promise<number | undefined> {
    return this.#domains.get(machineId)?.pid;
  }

  async list(signal: AbortSignal): Promise<readonly MachineSighting[]> {
    return this.#serve("list", undefined, signal, () => [...this.#domains.values()].map(sightingOf));
  }

  listen(listener: (event: MachineSignal) => void): Disposable {
    this.#listeners.add(listener);
    return { [Symbol.dispose]: () => void this.#listeners.delete(listener) };
  }

  // What happens outside: the guest, a person with virsh, libvirtd itself.

  /** The plan that was defined; undefined when there is no such domain. */
  planOf(machineId: MachineId): MachinePlan | undefined {
    return this.#domains.get(machineId)?.plan;
  }

  /** What `tune` was last told. */
  tunedTo(machineId: MachineId): CpuPlan | undefined {
    return this.#domainOf(machineId).tuned;
  }

  /** The CPUs that `pin` was last told. */
  pinnedTo(machineId: MachineId): string | undefined {
    return this.#domainOf(machineId).pinned;
  }

  /** What the guest has by now; undefined when it is off. */
  memoryOf(machineId: MachineId): number | undefined {
    const domain = this.#domainOf(machineId);
    return domain.condition.is === "on" ? sizeOf(domain).memoryBytes : undefined;
  }

  /** Its guest tells of its memory. */
  tellMemory(machineId: MachineId, memory: GuestMemory): void {
    this.#domainOf(machineId).guestMemory = memory;
  }

  /** Its guest has no driver for the balloon. */
  keepMemory(machineId: MachineId): void {
    this.#domainOf(machineId).keepsMemory = true;
  }

  setManners(machineId: MachineId, manners: GuestManners): void {
    this.#domainOf(machineId).manners = manners;
  }

  setAgent(machineId: MachineId, agent: FakeAgent): void {
    this.#domainOf(machineId).agent = agent;
  }

  /** The run ends without a call of ours: the guest powered off, someone destroyed it, QEMU crashed. */
  end(machineId: MachineId, how: HowItStopped): void {
    this.#turnOff(this.#running(machineId, "end"), how);
  }

  panic(machineId: MachineId): void {
    const domain = this.#running(machineId, "panic");
    this.#tell({ type: "panicked", machineId });
    this.#turnOff(domain, "crashed");
  }

  reboot(machineId: MachineId): void {
    this.#running(machineId, "reboot");
    this.#tell({ type: "rebooted", machineId });
  }

  agentUp(machineId: MachineId): void {
    this.#running(machineId, "agentUp");
    this.#tell({ type: "agent-up", machineId });
  }

  /** Its disk is full or broken: QEMU pauses it. */
  failDisk(machineId: MachineId): void {
    this.#running(machineId, "failDisk").condition = { is: "on", paused: "io-error" };
    this.#tell({ type: "io-error", machineId });
    this.#tell({ type: "paused", machineId });
  }

  /** `virsh suspend` */
  pauseByHand(machineId: MachineId): void {
    this.#running(machineId, "pauseByHand").condition = { is: "on", paused: "other" };
    this.#tell({ type: "paused", machineId });
  }

  /** `virsh start` */
  startByHand(machineId: MachineId): void {
    this.#turnOn(this.#domainOf(machineId), { is: "on" });
    this.#tell({ type: "resumed", machineId });
  }

  /** Its QEMU hangs: every call on it fails at once as quarantined, until it answers again. */
  stick(machineId: MachineId, { isStuck }: { isStuck: boolean }): void {
    this.#domainOf(machineId).isStuck = isStuck;
  }

  /** libvirtd goes away; machines go on, what happens meanwhile is not signalled. */
  goAway(): void {
    this.#isGone = true;
  }

  comeBack(): void {
    this.#isGone = false;
    this.#tell({ type: "reconnected" });
  }

  /** The node went down: nothing runs any more, definitions stay, nothing is signalled. */
  rebootNode(): void {
    for (const domain of this.#domains.values()) {
      if (domain.condition.is === "on") domain.condition = { is: "off", ended: "unknown" };
      delete domain.pid;
    }
  }

  async #serve<T>(
    call: HypervisorCall,
    machineId: MachineId | undefined,
    signal: AbortSignal,
    act: () => T,
  ): Promise<T> {
    signal.throwIfAborted();
    this.calls.push(machineId === undefined ? { call } : { call, machineId });
    await this.beforeCall(call, machineId);
    signal.throwIfAborted();
    if (this.#isGone) {
      throw new VmletError(
        { code: "HYPERVISOR_GONE", socketPath: "/fake/libvirt-sock" },
        "libvirtd does not answer on /fake/libvirt-sock",
      );
    }
    const domain = machineId === undefined ? undefined : this.#domains.get(machineId);
    if (domain?.isStuck === true) {
      throw new VmletError(
        { code: "HYPERVISOR_STUCK", domain: domain.plan.domainName, procedure: call },
        `domain ${domain.plan.domainName} does not answer: an earlier call hangs`,
      );
    }
    const result = act();
    await this.afterCall(call, machineId);
    return result;
  }

  #domainOf(machineId: MachineId): FakeDomain {
    const domain = this.#domains.get(machineId);
    if (domain !== undefined) return domain;
    throw new VmletError({ code: "DOMAIN_NOT_FOUND", domain: machineId }, `no domain for machine ${machineId}`);
  }

  #running(machineId: MachineId, call: string): FakeDomain {
    const domain = this.#domainOf(machineId);
    if (domain.condition.is !== "on") throw refused(call, OPERATION_INVALID, "domain is not running");
    return domain;
  }

  #turnOn(domain: FakeDomain, condition: MachineCondition): void {
    domain.condition = condition;
    domain.pid = this.#nextPid++;
    delete domain.memoryBytes;
    this.#tell({ type: "started", machineId: domain.plan.machineId });
  }

  #turnOff(domain: FakeDomain, how: HowItStopped): void {
    domain.condition = { is: "off", ended: how };
    if (domain.pid !== undefined) domain.lastPid = domain.pid;
    delete domain.pid;
    this.#tell({ type: "stopped", machineId: domain.plan.machineId, how });
  }

  #tell(event: MachineSignal): void {
    if (this.#isGone) return;
    queueMicrotask(() => {
      for (const listener of this.#listeners) listener(event);
    });
  }
}

function sightingOf({ plan, condition, pid, lastPid }: FakeDomain): MachineSighting {
  const { machineId, podId, domainName } = plan;
  const pids = condition.is === "on" ? { pid } : { pid: undefined, lastPid };
  const known = Object.entries(pids).filter(([, value]) => value !== undefined);
  return { machineId, podId, domainName, condition, ...Object.fromEntries(known) };
}

function sizeOf({ plan, memoryBytes, guestMemory }: FakeDomain): MachineSize {
  const { cpu, memoryBytes: maxMemoryBytes } = plan;
  const size = { vcpus: cpu.count, maxMemoryBytes, memoryBytes: memoryBytes ?? maxMemoryBytes };
  return guestMemory === undefined ? size : { ...size, guest: guestMemory };
}

function refused(procedure: string, libvirtCode: number, message: string): VmletError {
  return new VmletError(
    { code: "HYPERVISOR_FAILED", procedure, libvirtCode, libvirtDomain: VIR_FROM_QEMU },
    `${procedure}: ${message}`,
  );
}
