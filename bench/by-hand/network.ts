// A pod's network as a person would make it: a netns, and the plugins of the node's conflist run one after the other.

import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { run } from "../../src/lib/spawn.ts";
import { output } from "../../test/node/command.ts";
import type { NodeLayout } from "../../test/node/layout.ts";

interface Conflist {
  readonly cniVersion: string;
  readonly name: string;
  readonly plugins: readonly { readonly type: string }[];
}

interface Result {
  readonly interfaces: readonly { readonly name: string; readonly mac: string; readonly sandbox?: string }[];
}

export interface NetworkByHand {
  readonly netnsName: string;
  /** Of eth0: the VM gets it. */
  readonly mac: string;
  readonly result: unknown;
}

const PLUGIN_FOLDER_PATH = "/usr/lib/cni";
const IP = "/usr/sbin/ip";

export async function addNetwork(layout: NodeLayout, id: string, signal: AbortSignal): Promise<NetworkByHand> {
  const netnsName = `bench-${id.slice(0, 12)}`;
  const { plugins, ...config } = await readConflist(layout);
  await output([IP, "netns", "add", netnsName], signal);
  await output([IP, "-n", netnsName, "link", "set", "dev", "lo", "up"], signal);
  let prevResult: Result | undefined;
  for (const plugin of plugins)
    prevResult = JSON.parse(await runPlugin("ADD", netnsName, id, { ...config, ...plugin, prevResult }, signal));
  const mac = prevResult?.interfaces.find(({ name }) => name === "eth0")?.mac;
  if (mac === undefined) throw new Error(`the plugins made no eth0: ${JSON.stringify(prevResult)}`);
  return { netnsName, mac, result: prevResult };
}

export async function removeNetwork(
  layout: NodeLayout,
  id: string,
  { netnsName, result }: NetworkByHand,
  signal: AbortSignal,
): Promise<void> {
  const { plugins, ...config } = await readConflist(layout);
  for (const plugin of plugins.toReversed())
    await runPlugin("DEL", netnsName, id, { ...config, ...plugin, prevResult: result }, signal);
  await output([IP, "netns", "delete", netnsName], signal);
}

async function readConflist({ cniFolderPath }: NodeLayout): Promise<Conflist> {
  return JSON.parse(await readFile(join(cniFolderPath, "10-vmlet.conflist"), "utf8")) as Conflist;
}

async function runPlugin(
  command: "ADD" | "DEL",
  netnsName: string,
  id: string,
  config: { readonly type: string; readonly prevResult: unknown },
  signal: AbortSignal,
): Promise<string> {
  const env = {
    CNI_COMMAND: command,
    CNI_CONTAINERID: id,
    CNI_NETNS: `/run/netns/${netnsName}`,
    CNI_IFNAME: "eth0",
    CNI_PATH: PLUGIN_FOLDER_PATH,
  };
  const stdin = JSON.stringify(config);
  const done = await run(join(PLUGIN_FOLDER_PATH, config.type), [], { env, stdin }, signal);
  if (done.exitCode === 0) return done.stdout.toString("utf8");
  throw new Error(`${config.type} ${command}: ${done.stdout.toString("utf8")} ${done.stderr}`);
}
