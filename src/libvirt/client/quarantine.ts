// Domains that do not answer: who may still call on them, and until when.

import { LibvirtFault } from "./fault.ts";
import type { LaneName } from "./messages.ts";

/** Calls on one domain go one after another in each of these. A destroy never stands behind what it shall end. */
export type QueueName = LaneName | "destroy";

/** A hanging agent says nothing of QEMU; a hanging QEMU hangs the agent, too; what reads never asks QEMU. */
const BLOCKED_BY: Readonly<Record<QueueName, readonly QueueName[]>> = {
  read: ["read"],
  slow: ["slow", "lifecycle", "destroy"],
  lifecycle: ["lifecycle", "destroy"],
  destroy: ["destroy"],
};

export class Quarantine {
  /** By uuid: the queues with a call that hangs, and that call. */
  readonly #stuck = new Map<string, Map<QueueName, Promise<unknown>>>();

  /** @throws LibvirtFault `stuck` */
  check(uuid: string, queue: QueueName, procedure: string, domainName: string): void {
    const stuck = this.#stuck.get(uuid);
    if (stuck === undefined || !BLOCKED_BY[queue].some((other) => stuck.has(other))) return;
    throw new LibvirtFault(
      { kind: "stuck", procedure, domain: domainName, isFirst: false },
      `${procedure}: domain ${domainName} does not answer; an earlier call (${[...stuck.keys()].join()}) still hangs`,
    );
  }

  /** `answer` is late. When it comes after all, whatever it is, the domain answers again. */
  add(uuid: string, queue: QueueName, answer: Promise<unknown>): void {
    const stuck = this.#stuck.get(uuid) ?? new Map<QueueName, Promise<unknown>>();
    this.#stuck.set(uuid, stuck.set(queue, answer));
    const release = (): void => {
      if (this.#stuck.get(uuid)?.get(queue) !== answer) return;
      this.#stuck.get(uuid)?.delete(queue);
      if (this.#stuck.get(uuid)?.size === 0) this.#stuck.delete(uuid);
    };
    answer.then(release, release);
  }

  /** The domain ended. */
  lift(uuid: string): void {
    this.#stuck.delete(uuid);
  }

  has(uuid: string): boolean {
    return this.#stuck.has(uuid);
  }
}
