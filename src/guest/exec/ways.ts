// What is said when a guest cannot be got into.

import { printable } from "../../lib/printable.ts";
import { failsWith, VmletError } from "../../model/failure.ts";
import type { GuestCommand, GuestStreams, GuestTarget } from "../../ports/guest-exec.ts";

const MAX_REASON_CHARS = 300;
const SSH_REMEDY = "install openssh-server in its image, beside cloud-init or what docs/guest-contract.md asks for";
const AGENT_REMEDY = "or, for commands without input and terminal, qemu-guest-agent";

/** A way that is not there: another may be. */
export function closed({ machineId }: GuestTarget, why: string, cause?: unknown): VmletError {
  const failure = { code: "WRONG_STATE", subject: "guest", state: "closed" } as const;
  return new VmletError(failure, `container ${machineId}: no way into its guest: ${why}`, { cause });
}

export function isClosed(error: unknown): error is VmletError {
  return failsWith(error, "WRONG_STATE") && error.failure.subject === "guest";
}

/** Why something failed, perhaps in the guest's own words, as part of a message of ours. */
export function reasonOf(error: unknown): string {
  const text = error instanceof Error ? error.message : String(error);
  return printable(text.slice(0, MAX_REASON_CHARS));
}

export function needsSsh({ isTty }: GuestCommand, { stdin }: GuestStreams): boolean {
  return isTty || stdin !== undefined;
}

/** Of no use to wait for. */
export function refusedByAgent({ machineId }: GuestTarget): VmletError {
  const failure = { code: "WRONG_STATE", subject: "command", state: "interactive" } as const;
  const message = `container ${machineId}: by the guest's agent a command has no input and no terminal; ${SSH_REMEDY}`;
  return new VmletError(failure, message);
}

export const INSTALL_EITHER = `${SSH_REMEDY}, ${AGENT_REMEDY}`;
