// The pod network: CNI's configuration and plugins, and whether the kernel can make a VM the pod.

import { join } from "node:path";
import { loadNetworkConfig } from "../cni/network-config.ts";
import type { Config } from "../config/schema.ts";
import { iprouteIn } from "../kernel/iproute.ts";
import { replaceRedirect } from "../kernel/redirect.ts";
import { VmletError } from "../model/failure.ts";
import { error, type Finding, ok } from "./finding.ts";
import type { Node } from "./node.ts";

export async function checkCni(node: Node, { cni }: Pick<Config, "cni">): Promise<Finding[]> {
  try {
    const { name, plugins, cniVersion } = await loadNetworkConfig(cni.configFolderPath);
    const types = [...new Set(plugins.map(({ type }) => type))];
    const missing: string[] = [];
    for (const type of types) {
      const found = await Promise.all(cni.binFolderPaths.map(async (folder) => await node.program(join(folder, type))));
      if (found.every((path) => path === undefined)) missing.push(type);
    }
    if (missing.length === 0) return [ok("cni", `network ${name}, CNI ${cniVersion}: ${types.join(", ")}`)];
    return [
      error(
        "cni",
        `network ${name} wants plugins that are not there: ${missing.join(", ")}`,
        `put them into one of ${cni.binFolderPaths.join(", ")}, or name their folder in cni.binFolderPaths`,
      ),
    ];
  } catch (thrown) {
    if (!(thrown instanceof VmletError)) throw thrown;
    const remedy = "install a network plugin of your cluster, or set cni.configFolderPath";
    return [error("cni", thrown.message, remedy)];
  }
}

/** Tries it, in a netns of its own: modules load when they are asked for, and no list of them is the truth. */
export async function checkKernelNetwork(node: Node, signal: AbortSignal): Promise<Finding[]> {
  const name = `vmlet-doctor-${process.pid}`;
  const host = iprouteIn(undefined, node.run);
  const [pod, tap] = ["pod", "tap"];
  try {
    await host.ip(["netns", "add", name], signal);
    const inside = iprouteIn(`/run/netns/${name}`, node.run);
    await inside.ip(["link", "add", pod, "type", "veth", "peer", "name", "peer"], signal);
    await inside.ip(["tuntap", "add", "dev", tap, "mode", "tap"], signal);
    await replaceRedirect(inside, pod, tap, signal);
    return [ok("kernel", "netns, veth, tap, and tc with ingress, u32 and mirred")];
  } catch (thrown) {
    if (!(thrown instanceof VmletError)) throw thrown;
    const remedy = "run as root; modprobe veth tun sch_ingress cls_u32 act_mirred, or a kernel that has them";
    return [error("kernel", thrown.message, remedy)];
  } finally {
    await host.ip(["netns", "del", name], AbortSignal.timeout(10_000)).catch(() => {});
  }
}
