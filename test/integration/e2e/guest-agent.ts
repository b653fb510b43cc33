// Runs things in a guest through its agent, past the daemon: for tests that steer a guest while no daemon runs.

import { poll } from "../../node/poll.ts";
import { BOOT_LIMIT_MS, virsh } from "./vm-pod.ts";

/** Waits until the guest's agent answers. */
export async function untilAgentAnswers(domain: string, signal: AbortSignal): Promise<void> {
  const ping = async (): Promise<unknown> => await command(domain, { execute: "guest-ping" }, signal);
  await poll(ping, { what: "an answer of the guest's agent", limitMs: BOOT_LIMIT_MS }, signal);
}

/** Starts a script of sh in the guest and does not wait for its end. */
export async function startInGuest(domain: string, script: string, signal: AbortSignal): Promise<void> {
  await command(domain, { execute: "guest-exec", arguments: { path: "/bin/sh", arg: ["-c", script] } }, signal);
}

async function command(domain: string, request: unknown, signal: AbortSignal): Promise<string> {
  return await virsh(["qemu-agent-command", domain, JSON.stringify(request)], signal);
}
