// Whose domain is whose: what makes a domain ours is in its XML, and XML is asked for once per domain.

import type { LibvirtClient } from "./client/client.ts";
import { type DomainEvent, type DomainRef, procedures } from "./client/messages.ts";
import { LIFECYCLE } from "./conditions.ts";
import { isRefused, LIBVIRT_ERROR } from "./errors.ts";
import { type DomainOwner, ownerOfDomainXml } from "./owner.ts";

/** A domain of ours, with what libvirt does not remember of it. */
export interface OwnDomain extends DomainOwner {
  readonly ref: DomainRef;
  /** Its CPUs ran since it was last started, as far as we have seen. */
  hasRun: boolean;
  /** We defined it, and nobody started it since. */
  isFresh: boolean;
  /** Of its QEMU, when we last saw it on. */
  lastPid?: number;
}

const INACTIVE_XML = 2; // the metadata that the next start would have, too; needs nothing of QEMU

export class OwnDomains {
  readonly #client: LibvirtClient;
  /** By uuid; "foreign" is somebody else's. */
  readonly #known = new Map<string, OwnDomain | "foreign">();
  /** Those whose definition was changed: whose they are is asked again, what was seen of them is true as before. */
  readonly #redefined = new Map<string, OwnDomain>();
  readonly #asking = new Map<string, Promise<OwnDomain | undefined>>();

  constructor(client: LibvirtClient) {
    this.#client = client;
  }

  known(uuid: string): OwnDomain | "foreign" | undefined {
    return this.#known.get(uuid);
  }

  /** We defined it just now. */
  add({ machineId, podId }: DomainOwner, ref: DomainRef): void {
    this.#known.set(ref.uuid, { machineId, podId, ref, hasRun: false, isFresh: true });
  }

  /** Of all domains that are known, whoever they belong to. */
  uuids(): readonly string[] {
    return [...this.#known.keys()];
  }

  forget(uuid: string): void {
    this.#known.delete(uuid);
  }

  /** What was missed while there was no connection may have changed everything but what we saw ourselves. */
  forgetForeign(): void {
    for (const [uuid, domain] of this.#known) if (domain === "foreign") this.#known.delete(uuid);
  }

  /** Ours, by what is known or by its XML; undefined for somebody else's and for one that is not there. */
  async recognise(ref: DomainRef): Promise<OwnDomain | undefined> {
    const known = this.#known.get(ref.uuid);
    if (known !== undefined) return known === "foreign" ? undefined : known;
    const asking = this.#asking.get(ref.uuid) ?? this.#ask(ref).finally(() => this.#asking.delete(ref.uuid));
    this.#asking.set(ref.uuid, asking); // one question, whoever else wants to know
    return asking;
  }

  /** Keeps what is known true. */
  note(event: DomainEvent): void {
    const { uuid } = event.domain;
    const domain = this.#known.get(uuid);
    if (event.type !== "lifecycle" || domain === undefined) return;
    if (event.event === LIFECYCLE.undefined) this.#known.delete(uuid);
    if (event.event === LIFECYCLE.defined && (domain === "foreign" || event.detail !== 0)) {
      this.#known.delete(uuid);
      if (domain !== "foreign") this.#redefined.set(uuid, domain);
    }
    if (domain === "foreign") return;
    if (event.event === LIFECYCLE.started) domain.isFresh = false;
    if (event.event === LIFECYCLE.resumed) domain.hasRun = true;
    if (event.event === LIFECYCLE.stopped) domain.hasRun = false;
  }

  async #ask(ref: DomainRef): Promise<OwnDomain | undefined> {
    // Shared by all who ask, so no caller's abort may end it; the call has its own limit.
    const signal = new AbortController().signal;
    const before = this.#redefined.get(ref.uuid);
    this.#redefined.delete(ref.uuid);
    try {
      const { xml } = await this.#client.call(
        procedures.getXmlDesc,
        { domain: ref, flags: INACTIVE_XML },
        { domain: ref },
        signal,
      );
      const meanwhile = this.#known.get(ref.uuid); // we defined it ourselves, and the event overtook the answer
      if (meanwhile !== undefined && meanwhile !== "foreign") return meanwhile;
      const owner = ownerOfDomainXml(xml);
      const own = owner === undefined ? undefined : { hasRun: false, isFresh: false, ...before, ...owner, ref };
      this.#known.set(ref.uuid, own ?? "foreign");
      return own;
    } catch (error) {
      if (isRefused(error, LIBVIRT_ERROR.noDomain)) return undefined;
      throw error;
    }
  }
}
