// The Hypervisor port on libvirt.

import { poll } from "../lib/backoff.ts";
import { untilAborted } from "../lib/keyed-lock.ts";
import { failsWith, VmletError } from "../model/failure.ts";
import { type MachineId, uuidOf } from "../model/ids.ts";
import type { CpuPlan, MachinePlan } from "../model/machine-plan.ts";
import type {
  AgentCommand,
  Hypervisor,
  HypervisorInfo,
  MachineSighting,
  MachineSignal,
  MachineSize,
} from "../ports/hypervisor.ts";
import type { Logger } from "../ports/logger.ts";
import { askAgent } from "./agent.ts";
import { CLIENT_DEFAULTS, type ClientEvent, LibvirtClient } from "./client/client.ts";
import { type DomainEvent, type DomainRef, type Procedure, procedures } from "./client/messages.ts";
import { conditionOf, signalOf } from "./conditions.ts";
import { cpumapOf, namingField, nodesetParamsOf, schedulerParamsOf } from "./cputune.ts";
import { renderDomain } from "./domain-xml.ts";
import { isRefused, isStuck, LIBVIRT_ERROR, translated } from "./errors.ts";
import { type LibvirtOptions, START_LIMIT_MS } from "./options.ts";
import { type OwnDomain, OwnDomains } from "./ours.ts";
import { qemuPid } from "./pid-file.ts";
import { SIZE_STATS, sizesOf } from "./sizes.ts";
import { loadTemplate } from "./template.ts";
import { resolveVirtualization, whyNoKvm } from "./virtualization.ts";

const START_PAUSED = 1;
const AFFECT_LIVE = 1;
const SHUTDOWN_ACPI = 1;
const SHUTDOWN_AGENT = 2;
// Everything that libvirt may keep of a domain: managed save, snapshots, NVRAM, checkpoints, and, newer, the TPM.
const UNDEFINE_ALL = 0b010111;
const UNDEFINE_TPM = 0b100000;

/** libvirt gives a silent agent 5 s to answer; who has not refused by then was asked. */
const AGENT_ASKED_AFTER_MS = 6_000;
/** The first question after libvirtd's start lets it examine every QEMU on the node. */
const VERSION_LIMIT_MS = 60_000;

/** `auto` is decided once, when the daemon starts. */
type ResolvedOptions = LibvirtOptions & { readonly virtualization: "kvm" | "emulated" };

/** Connects in the background; resolves whether or not libvirtd is there. */
export async function openHypervisor(
  options: LibvirtOptions,
  parts: { readonly log: Logger },
  signal: AbortSignal,
): Promise<LibvirtHypervisor> {
  signal.throwIfAborted();
  const virtualization = await resolveVirtualization(options.virtualization, options.kvm);
  return new LibvirtHypervisor({ ...options, virtualization }, parts);
}

export class LibvirtHypervisor implements Hypervisor, Disposable {
  readonly #options: ResolvedOptions;
  readonly #log: Logger;
  readonly #client: LibvirtClient;
  readonly #ours: OwnDomains;
  readonly #listeners = new Set<(event: MachineSignal) => void>();
  #qemuVersion: string | undefined;
  #hasKvm = false;

  constructor(options: ResolvedOptions, { log }: { readonly log: Logger }) {
    const { socketPath, limitMs, reconnectWaitMs = CLIENT_DEFAULTS.reconnectWaitMs } = options;
    this.#options = options;
    this.#log = log;
    this.#client = new LibvirtClient({ ...CLIENT_DEFAULTS, socketPath, reconnectWaitMs, limitMs });
    this.#ours = new OwnDomains(this.#client);
    this.#client.listen((event) => this.#hear(event));
  }

  async probe(signal: AbortSignal): Promise<HypervisorInfo> {
    await this.#checkKvm();
    return this.#translating(async () => {
      const { version } = await this.#client.call(procedures.getLibVersion, {}, {}, signal);
      const limit = { limitMs: VERSION_LIMIT_MS };
      this.#qemuVersion ??= spelled((await this.#client.call(procedures.getVersion, {}, limit, signal)).version);
      const { virtualization } = this.#options;
      return { libvirtVersion: spelled(version), qemuVersion: this.#qemuVersion, virtualization };
    });
  }

  /** Without it every start would fail, one by one. What was there once stays. */
  async #checkKvm(): Promise<void> {
    const { virtualization, kvm } = this.#options;
    if (this.#hasKvm || virtualization !== "kvm") return;
    const why = await whyNoKvm(kvm);
    this.#hasKvm = why === undefined;
    if (why === undefined) return;
    const message = `no machine starts, for libvirt.virtualization is kvm: ${why}; vmlet doctor says how to mend it`;
    throw new VmletError({ code: "CONFIG_INVALID", path: "", field: "libvirt.virtualization" }, message);
  }

  async define(plan: MachinePlan, signal: AbortSignal): Promise<void> {
    signal.throwIfAborted();
    const { templateFolderPath, virtualization, tcgCacheMiB } = this.#options;
    const template = await loadTemplate(templateFolderPath, plan.template, signal);
    const xml = renderDomain(plan, template, { virtualization, tcgCacheMiB });
    await this.#translating(async () => {
      if ((await this.#look(plan.machineId, signal)) !== undefined) return;
      try {
        const { domain } = await this.#client.call(procedures.defineXml, { xml, flags: 0 }, {}, signal);
        this.#ours.add(plan, domain);
      } catch (error) {
        const { xmlError, configUnsupported, xmlInvalidSchema } = LIBVIRT_ERROR;
        if (!isRefused(error, xmlError, configUnsupported, xmlInvalidSchema)) throw error;
        const message = `libvirt does not take the domain made from ${template.path}: ${(error as Error).message}`;
        throw new VmletError({ code: "TEMPLATE_INVALID", path: template.path }, message, { cause: error });
      }
    });
  }

  async startPaused(machineId: MachineId, signal: AbortSignal): Promise<void> {
    const limitMs = Math.max(START_LIMIT_MS, this.#options.limitMs.lifecycle);
    await this.#change(machineId, procedures.create, { flags: START_PAUSED }, { limitMs }, signal);
  }

  async resume(machineId: MachineId, signal: AbortSignal): Promise<void> {
    try {
      const own = await this.#change(machineId, procedures.resume, {}, {}, signal);
      own.hasRun = true;
    } catch (error) {
      const isRefusal = failsWith(error, "HYPERVISOR_FAILED");
      if (!isRefusal || error.failure.libvirtCode !== LIBVIRT_ERROR.operationInvalid) throw error;
      const now = (await this.look(machineId, signal))?.condition;
      if (now?.is !== "on" || now.paused !== undefined) throw error; // otherwise it runs already
    }
  }

  async tune(machineId: MachineId, cpu: CpuPlan, signal: AbortSignal): Promise<void> {
    const params = schedulerParamsOf(cpu);
    await this.#change(machineId, procedures.setSchedulerParameters, { params, flags: AFFECT_LIVE }, {}, signal);
    await this.pin(machineId, cpu, signal);
    await namingField("linux.cpuset_mems", cpu.memoryNodes, async (nodes) => {
      const change = { params: nodesetParamsOf(nodes), flags: AFFECT_LIVE };
      await this.#change(machineId, procedures.setNumaParameters, change, {}, signal);
    });
  }

  async pin(machineId: MachineId, cpu: Pick<CpuPlan, "count" | "cpuset">, signal: AbortSignal): Promise<void> {
    await namingField("linux.cpuset_cpus", cpu.cpuset, async (cpuset) => {
      const pin = { cpumap: cpumapOf(cpuset), flags: AFFECT_LIVE };
      await this.#change(machineId, procedures.pinEmulator, pin, {}, signal);
      for (let vcpu = 0; vcpu < cpu.count; vcpu += 1)
        await this.#change(machineId, procedures.pinVcpu, { vcpu, ...pin }, {}, signal);
    });
  }

  async setMemory(machineId: MachineId, memoryBytes: number, signal: AbortSignal): Promise<void> {
    const change = { memoryKiB: BigInt(Math.floor(memoryBytes / 1024)), flags: AFFECT_LIVE };
    await this.#change(machineId, procedures.setMemory, change, {}, signal);
  }

  async sizes(machineIds: readonly MachineId[], signal: AbortSignal): Promise<ReadonlyMap<MachineId, MachineSize>> {
    return this.#translating(async () => {
      const own = await Promise.all(machineIds.map(async (machineId) => await this.#find(machineId, signal)));
      const domains = own.flatMap((each) => (each === undefined ? [] : [each.ref]));
      if (domains.length === 0) return new Map(); // nobody's: libvirt would take it for everybody's
      const asked = { domains, ...SIZE_STATS };
      const { records } = await this.#client.call(procedures.getAllDomainStats, asked, {}, signal);
      return sizesOf(records, (uuid) => {
        const known = this.#ours.known(uuid);
        return typeof known === "object" ? known.machineId : undefined;
      });
    });
  }

  async askToPowerOff(machineId: MachineId, via: "agent" | "acpi", signal: AbortSignal): Promise<void> {
    if (via === "acpi") {
      await this.#change(machineId, procedures.shutdown, { flags: SHUTDOWN_ACPI }, {}, signal);
      return;
    }
    // libvirt's answer comes when the guest has gone down, or never; a refusal comes at once.
    const asking = this.#change(machineId, procedures.shutdown, { flags: SHUTDOWN_AGENT }, { lane: "slow" }, signal);
    const wasAsked = Promise.withResolvers<void>();
    const timer = setTimeout(() => wasAsked.resolve(), AGENT_ASKED_AFTER_MS);
    try {
      await Promise.race([asking, wasAsked.promise]);
    } finally {
      clearTimeout(timer);
    }
  }

  async askAgent(machineId: MachineId, command: AgentCommand, signal: AbortSignal): Promise<unknown> {
    return this.#translating(async () => {
      const own = await this.#find(machineId, signal);
      if (own === undefined) throw notFound(machineId);
      try {
        return await askAgent(this.#client, own.ref, command, signal);
      } catch (error) {
        throw isRefused(error, LIBVIRT_ERROR.noDomain) ? notFound(machineId, error) : error;
      }
    });
  }

  async destroy(machineId: MachineId, signal: AbortSignal): Promise<void> {
    await this.#translating(async () => {
      const own = await this.#find(machineId, signal);
      if (own === undefined) return;
      const { ref: domain } = own;
      try {
        await this.#client.call(procedures.destroy, { domain, flags: 0 }, { domain }, signal);
      } catch (error) {
        if (isRefused(error, LIBVIRT_ERROR.noDomain, LIBVIRT_ERROR.operationInvalid)) return; // off already
        if (!isStuck(error) || !(await this.#killQemu(own, signal))) throw error;
      }
    });
  }

  /** For a QEMU so stuck that libvirt's own destroy hangs behind it. False when its process cannot be told. */
  async #killQemu(own: OwnDomain, signal: AbortSignal): Promise<boolean> {
    const pid = await qemuPid(this.#options, own.ref);
    if (pid === undefined) return false;
    this.#log.warn("QEMU answers nothing: killing it", { machine: own.machineId, pid });
    try {
      process.kill(pid, "SIGKILL");
    } catch {
      // ESRCH: it ended by itself in between.
    }
    const isOff = async (): Promise<true | undefined> =>
      (await this.#sight(own, signal))?.condition.is === "on" ? undefined : true;
    await poll(isOff, { firstMs: 50, maxMs: 1_000 }, signal);
    return true;
  }

  async undefine(machineId: MachineId, signal: AbortSignal): Promise<void> {
    await this.#translating(async () => {
      const sighting = await this.#look(machineId, signal);
      const own = await this.#find(machineId, signal);
      if (sighting === undefined || own === undefined) return;
      if (sighting.condition.is === "on") {
        const subject = `domain ${sighting.domainName}`; // libvirt would forget it and let it run on
        throw new VmletError({ code: "WRONG_STATE", subject, state: "on" }, `${subject} is on: destroy it first`);
      }
      const { ref: domain } = own;
      const undefine = async (flags: number): Promise<unknown> =>
        this.#client.call(procedures.undefine, { domain, flags }, { domain }, signal);
      try {
        await undefine(UNDEFINE_ALL | UNDEFINE_TPM).catch(async (error: unknown) => {
          if (!isRefused(error, LIBVIRT_ERROR.invalidArgument)) throw error;
          await undefine(UNDEFINE_ALL); // libvirt before 8.9
        });
      } catch (error) {
        if (!isRefused(error, LIBVIRT_ERROR.noDomain)) throw error;
      }
    });
  }

  async look(machineId: MachineId, signal: AbortSignal): Promise<MachineSighting | undefined> {
    return this.#translating(() => this.#look(machineId, signal));
  }

  async list(signal: AbortSignal): Promise<readonly MachineSighting[]> {
    return this.#translating(async () => {
      const known = this.#ours.uuids();
      const { domains } = await this.#client.call(procedures.listAllDomains, { needResults: 1, flags: 0 }, {}, signal);
      const listed = new Set(domains.map(({ uuid }) => uuid));
      for (const uuid of known) if (!listed.has(uuid)) this.#ours.forget(uuid); // it went while we were not told
      const sightings = await Promise.all(
        domains.map(async (ref) => {
          const own = await untilAborted(this.#ours.recognise(ref), signal);
          return own && this.#sight(own, signal);
        }),
      );
      return sightings.filter((sighting) => sighting !== undefined);
    });
  }

  listen(listener: (event: MachineSignal) => void): Disposable {
    this.#listeners.add(listener);
    return { [Symbol.dispose]: () => void this.#listeners.delete(listener) };
  }

  [Symbol.dispose](): void {
    this.#client[Symbol.dispose]();
    this.#listeners.clear();
  }

  /** Makes one call about a machine that must be there. */
  async #change<Args>(
    machineId: MachineId,
    procedure: Procedure<{ readonly domain: DomainRef } & Args, unknown>,
    args: Args,
    options: { readonly limitMs?: number; readonly lane?: "slow" },
    signal: AbortSignal,
  ): Promise<OwnDomain> {
    return this.#translating(async () => {
      const own = await this.#find(machineId, signal);
      if (own === undefined) throw notFound(machineId);
      const { ref: domain } = own;
      try {
        await this.#client.call(procedure, { domain, ...args }, { domain, ...options }, signal);
        return own;
      } catch (error) {
        throw isRefused(error, LIBVIRT_ERROR.noDomain) ? notFound(machineId, error) : error;
      }
    });
  }

  async #look(machineId: MachineId, signal: AbortSignal): Promise<MachineSighting | undefined> {
    const own = await this.#find(machineId, signal);
    return own && this.#sight(own, signal);
  }

  /** @throws NAME_TAKEN when somebody else's domain has the machine's uuid. */
  async #find(machineId: MachineId, signal: AbortSignal): Promise<OwnDomain | undefined> {
    signal.throwIfAborted();
    const uuid = uuidOf(machineId);
    const known = this.#ours.known(uuid);
    if (typeof known === "object" && known.machineId === machineId) return known;
    try {
      const { domain } = await this.#client.call(procedures.lookupByUuid, { uuid }, {}, signal);
      const own = await untilAborted(this.#ours.recognise(domain), signal);
      if (own?.machineId === machineId) return own;
      const message = `domain ${domain.name} has the uuid of machine ${machineId} and is not ours: it is left alone`;
      throw new VmletError({ code: "NAME_TAKEN", name: uuid, holder: domain.name }, message);
    } catch (error) {
      if (isRefused(error, LIBVIRT_ERROR.noDomain)) return undefined;
      throw error;
    }
  }

  async #sight(own: OwnDomain, signal: AbortSignal): Promise<MachineSighting | undefined> {
    const { ref, machineId, podId } = own;
    try {
      const state = await this.#client.call(procedures.getState, { domain: ref, flags: 0 }, { domain: ref }, signal);
      const condition = conditionOf(state, own);
      if (condition.is === "on" && condition.paused === undefined) own.hasRun = true;
      if (condition.is === "on") own.isFresh = false;
      const seen = { machineId, podId, domainName: ref.name, condition };
      const { lastPid } = own;
      if (condition.is !== "on") return lastPid === undefined ? seen : { ...seen, lastPid };
      const pid = await qemuPid(this.#options, ref);
      if (pid === undefined) return seen;
      own.lastPid = pid;
      return { ...seen, pid };
    } catch (error) {
      if (!isRefused(error, LIBVIRT_ERROR.noDomain)) throw error;
      this.#ours.forget(ref.uuid);
      return undefined;
    }
  }

  async pidOf({
    machineId,
    domainName,
  }: Pick<MachineSighting, "machineId" | "domainName">): Promise<number | undefined> {
    const uuid = uuidOf(machineId);
    const known = this.#ours.known(uuid); // by its name of now: a person may have renamed it
    return qemuPid(this.#options, { name: typeof known === "object" ? known.ref.name : domainName, uuid });
  }

  #hear(event: ClientEvent): void {
    if (event.type === "reconnected") {
      this.#qemuVersion = undefined; // libvirtd may have been upgraded together with QEMU
      this.#ours.forgetForeign();
      this.#log.info("libvirt connected again");
      this.#tell({ type: "reconnected" });
      return;
    }
    const known = this.#ours.known(event.domain.uuid);
    this.#ours.note(event);
    if (known === "foreign") return;
    if (known !== undefined) this.#tell(signalOf(event, known.machineId));
    else void this.#recogniseAndTell(event);
  }

  /** Of a domain that was defined by somebody else than this process; events of one domain stay in order. */
  async #recogniseAndTell(event: DomainEvent): Promise<void> {
    try {
      const own = await this.#ours.recognise(event.domain);
      if (own === undefined) return;
      this.#ours.note(event);
      this.#tell(signalOf(event, own.machineId));
    } catch (error) {
      // No connection any more: "reconnected" will make everyone look at everything.
      this.#log.debug("event of an unknown domain is dropped", { domain: event.domain.name, error: String(error) });
    }
  }

  #tell(signal: MachineSignal | undefined): void {
    if (signal === undefined) return;
    for (const listener of this.#listeners) listener(signal);
  }

  async #translating<T>(work: () => Promise<T>): Promise<T> {
    try {
      return await work();
    } catch (error) {
      throw translated(error);
    }
  }
}

/** 9,000,000 is 9.0.0. */
function spelled(version: bigint): string {
  return [version / 1_000_000n, (version / 1_000n) % 1_000n, version % 1_000n].join(".");
}

function notFound(machineId: MachineId, cause?: unknown): VmletError {
  const failure = { code: "DOMAIN_NOT_FOUND", domain: uuidOf(machineId) } as const;
  return new VmletError(failure, `libvirt knows no domain of machine ${machineId}`, { cause });
}
