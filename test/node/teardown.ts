// Removes what pods of a node left on the machine, through CRI; and says what is left that should not be.

import { readdir, readFile } from "node:fs/promises";
import { ListPodSandboxRequest, RemovePodSandboxRequest, StopPodSandboxRequest } from "../../src/gen/runtime.ts";
import { output } from "./command.ts";
import { connectCri } from "./cri-client.ts";
import type { NodeLayout } from "./layout.ts";

/** Stops and removes every pod that the daemon lists; tries each before it rejects. */
export async function removePods(layout: NodeLayout, signal: AbortSignal): Promise<number> {
  using cri = connectCri(layout.socketPath);
  const { items } = await cri.runtime.listPodSandbox(ListPodSandboxRequest.fromPartial({}), signal);
  const results = await Promise.allSettled(
    items.map(async ({ id }) => {
      await cri.runtime.stopPodSandbox(StopPodSandboxRequest.fromPartial({ podSandboxId: id }), signal);
      await cri.runtime.removePodSandbox(RemovePodSandboxRequest.fromPartial({ podSandboxId: id }), signal);
    }),
  );
  const failures = results.flatMap((result) => (result.status === "rejected" ? [result.reason as unknown] : []));
  if (failures.length > 0)
    throw new AggregateError(
      failures,
      `${failures.length} of ${items.length} pods not removed: ${String(failures[0])}`,
    );
  return items.length;
}

/** One line for each thing of a pod of this node that still exists; the daemon need not run. */
export async function findLeftovers(layout: NodeLayout, signal: AbortSignal): Promise<string[]> {
  const [domains, ports, addresses, programs] = await Promise.all([
    domainsOf(layout, signal),
    bridgePorts(layout, signal),
    readdir(layout.ipamFolderPath).catch((): string[] => []),
    programsOf(layout),
  ]);
  return [
    ...domains.map((name) => `domain ${name}`),
    ...ports.map((name) => `interface ${name} in bridge ${layout.bridgeName}`),
    ...addresses
      .filter((name) => /^[0-9a-f.:]+$/.test(name))
      .map((name) => `address ${name} in ${layout.ipamFolderPath}`),
    ...programs,
  ];
}

/** Domains whose XML names a file of this node. */
async function domainsOf(layout: NodeLayout, signal: AbortSignal): Promise<string[]> {
  const names = (await virsh(["list", "--all", "--name"], signal)).split("\n").filter((name) => name !== "");
  const own: string[] = [];
  for (const name of names) {
    const xml = await virsh(["dumpxml", name], signal).catch(() => ""); // it may have gone in between
    if (xml.includes(`${layout.stateFolderPath}/`)) own.push(name);
  }
  return own;
}

/** For when the daemon cannot: ends and forgets the node's domains, without asking the guests. */
export async function destroyDomains(layout: NodeLayout, signal: AbortSignal): Promise<void> {
  for (const name of await domainsOf(layout, signal)) {
    await virsh(["destroy", name], signal).catch(() => "");
    await virsh(["undefine", name], signal).catch(() => "");
  }
}

const virsh = (args: readonly string[], signal: AbortSignal): Promise<string> =>
  output(["/usr/bin/virsh", "-q", "-c", "qemu:///system", ...args], signal);

async function bridgePorts(layout: NodeLayout, signal: AbortSignal): Promise<string[]> {
  const text = await output(["/usr/sbin/ip", "-o", "link", "show", "master", layout.bridgeName], signal).catch(
    () => "",
  );
  return [...text.matchAll(/^\d+: ([^:@]+)/gm)].map((match) => match[1] ?? "");
}

/** QEMU and dnsmasq of this node's pods, by the paths in their command lines. */
async function programsOf(layout: NodeLayout): Promise<string[]> {
  const found: string[] = [];
  for (const pid of (await readdir("/proc")).filter((name) => /^\d+$/.test(name))) {
    const line = (await readFile(`/proc/${pid}/cmdline`, "utf8").catch(() => "")).replaceAll("\0", " ");
    const isOurs = line.includes(`${layout.stateFolderPath}/`) || line.includes(`${layout.runFolderPath}/`);
    if (isOurs && /^\S*(qemu|dnsmasq)/.test(line)) found.push(`process ${pid} ${line.slice(0, 60)}`);
  }
  return found;
}
