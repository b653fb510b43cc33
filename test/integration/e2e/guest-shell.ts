// Commands run inside a guest by its agent, and by ssh: what the guest sees, without asking its network or its console.

import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { run } from "../../../src/lib/spawn.ts";
import { output } from "../../node/command.ts";
import { poll } from "../../node/poll.ts";
import { BOOT_LIMIT_MS, type VmPod, virsh } from "./vm-pod.ts";

export interface GuestDone {
  readonly exitCode: number;
  /** Both streams of the command, without the last line end. */
  readonly text: string;
}

/** Waits until the guest's agent answers. */
export async function agentAnswers(pod: VmPod, signal: AbortSignal): Promise<void> {
  const domain = await pod.domain(signal);
  await poll(
    async () => await ask(domain, { execute: "guest-ping" }, signal),
    { what: `an answer of the agent in ${domain}`, limitMs: pod.bootLimitMs, everyMs: 500 },
    signal,
  );
}

/** What the command printed. Rejects with it when the command fails; the agent must have answered before. */
export async function guestSh(domain: string, script: string, signal: AbortSignal): Promise<string> {
  const { exitCode, text } = await guestRun(domain, script, signal);
  if (exitCode !== 0) throw new Error(`in ${domain}: ${script}: exit ${exitCode}: ${text}`);
  return text;
}

async function guestRun(domain: string, script: string, signal: AbortSignal): Promise<GuestDone> {
  const path = "export PATH=/usr/sbin:/usr/bin:/sbin:/bin";
  const exec = {
    execute: "guest-exec",
    arguments: { path: "/bin/sh", arg: ["-c", `${path}\nexec 2>&1\n${script}`], "capture-output": true },
  };
  const { pid } = (await ask(domain, exec, signal)) as { pid: number };
  return await poll(
    async () => {
      const status = (await ask(domain, { execute: "guest-exec-status", arguments: { pid } }, signal)) as {
        exited: boolean;
        exitcode?: number;
        "out-data"?: string;
      };
      if (!status.exited) return undefined;
      const text = Buffer.from(status["out-data"] ?? "", "base64").toString("utf8");
      return { exitCode: status.exitcode ?? -1, text: text.trimEnd() };
    },
    { what: `the end in ${domain} of: ${script}`, limitMs: BOOT_LIMIT_MS },
    signal,
  );
}

async function ask(domain: string, command: object, signal: AbortSignal): Promise<unknown> {
  const reply = await virsh(["qemu-agent-command", "--timeout", "20", domain, JSON.stringify(command)], signal);
  return (JSON.parse(reply) as { return: unknown }).return;
}

export interface SshKey {
  readonly path: string;
  /** The line for `authorized_keys`. */
  readonly publicKey: string;
}

export async function newSshKey(folderPath: string, name: string, signal: AbortSignal): Promise<SshKey> {
  const path = join(folderPath, name);
  await output(["/usr/bin/ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", name, "-f", path], signal);
  return { path, publicKey: (await readFile(`${path}.pub`, "utf8")).trim() };
}

/** As root. The exit code is 255 when ssh itself failed, so when the key was refused. */
export async function ssh(key: SshKey, address: string, command: string, signal: AbortSignal): Promise<GuestDone> {
  const options = ["BatchMode=yes", "IdentitiesOnly=yes", "StrictHostKeyChecking=no", "UserKnownHostsFile=/dev/null"];
  const args = [...options, "LogLevel=ERROR", "ConnectTimeout=60"].flatMap((option) => ["-o", option]);
  const argv = ["-F", "none", ...args, "-i", key.path, `root@${address}`, command];
  const { exitCode, stdout, stderr } = await run("/usr/bin/ssh", argv, {}, signal);
  return { exitCode: exitCode ?? -1, text: `${stdout.toString("utf8")}${stderr}`.trimEnd() };
}
