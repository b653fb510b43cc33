// What is told to plugins of the pod: CNI_ARGS and runtimeConfig.

import { invalid } from "../model/failure.ts";
import type { NetworkRequest } from "../ports/network.ts";
import type { NetworkConfig, PluginConfig } from "./network-config.ts";
import type { CniResult } from "./result.ts";

/** @throws SPEC_INVALID when a name would read as another argument. */
export function cniArgs({ podId, pod }: NetworkRequest): string {
  const pairs = [
    ["IgnoreUnknown", "1", ""],
    ["K8S_POD_NAMESPACE", pod.namespace, "metadata.namespace"],
    ["K8S_POD_NAME", pod.name, "metadata.name"],
    ["K8S_POD_INFRA_CONTAINER_ID", podId, ""],
    ["K8S_POD_UID", pod.uid, "metadata.uid"],
  ] as const;
  return pairs
    .map(([key, value, field]) => {
      if (/[;=\0]/.test(value)) throw invalid(field, "must not contain ; or = or NUL, which part CNI arguments");
      return `${key}=${value}`;
    })
    .join(";");
}

/**
 * The plugin's own part of the list, made complete.
 * @see CNI SPEC 1.1.0, section 3 "Deriving request configuration from plugin configuration"
 */
export function executionConfig(
  { name, cniVersion }: NetworkConfig,
  { capabilities, ...plugin }: PluginConfig,
  request: NetworkRequest,
  prevResult: CniResult | undefined,
): string {
  const runtimeConfig = runtimeConfigOf(capabilities ?? {}, request);
  return JSON.stringify({
    ...plugin,
    name,
    cniVersion,
    ...(Object.keys(runtimeConfig).length === 0 ? {} : { runtimeConfig }),
    ...(prevResult === undefined ? {} : { prevResult }),
  });
}

/** Only what the plugin declares and the pod has. */
function runtimeConfigOf(
  capabilities: Readonly<Record<string, boolean>>,
  { portMappings, dns }: NetworkRequest,
): Record<string, unknown> {
  const mappings = portMappings
    .filter(({ hostPort }) => hostPort > 0)
    .map(({ hostIp, ...mapping }) => ({ ...mapping, ...(hostIp === "" ? {} : { hostIP: hostIp }) }));
  const hasDns = dns.servers.length + dns.searches.length + dns.options.length > 0;
  return {
    ...(capabilities["portMappings"] === true && mappings.length > 0 ? { portMappings: mappings } : {}),
    ...(capabilities["dns"] === true && hasDns ? { dns } : {}),
  };
}
