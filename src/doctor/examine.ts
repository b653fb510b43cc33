// All checks of a node, one after the other: what each finds, or that it could not look.

import type { Config } from "../config/schema.ts";
import { checkCgroups } from "./cgroups.ts";
import { error, type Finding, ok, warning } from "./finding.ts";
import { checkHypervisor, checkPrograms } from "./hypervisor.ts";
import { checkKubelet } from "./kubelet.ts";
import { checkKvm } from "./kvm.ts";
import { checkCni, checkKernelNetwork } from "./network.ts";
import type { Node } from "./node.ts";
import { checkSpace } from "./space.ts";

const CHECK_LIMIT_MS = 15_000;

/** Yields as it finds. */
export async function* examine(node: Node, config: Config, signal: AbortSignal): AsyncGenerator<Finding> {
  const checks: readonly (readonly [string, (signal: AbortSignal) => Promise<Finding[]>])[] = [
    ["kvm", async () => await checkKvm(node, config)],
    ["libvirtd", async () => await checkHypervisor(node, config)],
    ["programs", async () => await checkPrograms(node, config)],
    ["cni", async () => await checkCni(node, config)],
    ["kernel", async (own) => await checkKernelNetwork(node, own)],
    ["cgroups", async () => await checkCgroups(node, config)],
    ["disk", async () => await checkSpace(node, config)],
    ["vmlet", async () => [await daemon(node, config)]],
    ["kubelet", async (own) => await checkKubelet(node, config, own)],
  ];
  for (const [about, check] of checks) {
    try {
      yield* await check(AbortSignal.any([signal, AbortSignal.timeout(CHECK_LIMIT_MS)]));
    } catch (thrown) {
      signal.throwIfAborted();
      const why = thrown instanceof Error ? thrown.message : String(thrown);
      yield error(about, `could not be looked at: ${why}`, "run vmlet doctor as root");
    }
  }
}

async function daemon(node: Node, { socketPath }: Config): Promise<Finding> {
  return (await node.answers(socketPath))
    ? ok("vmlet", `answers on ${socketPath}`)
    : warning("vmlet", `nobody answers on ${socketPath}`, "vmlet serve, or systemctl start vmlet");
}
