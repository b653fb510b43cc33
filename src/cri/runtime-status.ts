import type { Engine } from "../engine/engine.ts";
import type { RuntimeCondition, StatusRequest, StatusResponse } from "../gen/runtime.ts";
import type { Unary } from "./handler.ts";

interface StatusOptions {
  readonly effectiveConfig: unknown;
  readonly handlers: readonly string[];
}

/** RuntimeReady is libvirt's word, NetworkReady CNI's; a handler offers nothing that needs a shared kernel. */
export const status =
  (engine: Engine, { effectiveConfig, handlers }: StatusOptions): Unary<StatusRequest, StatusResponse> =>
  async ({ verbose }, signal) => {
    const [health, network] = await Promise.all([engine.health(signal), engine.networkStatus()]);
    const runtimeReady = condition(
      "RuntimeReady",
      health.isReady,
      "HypervisorUnavailable",
      health.isReady ? "" : health.why,
    );
    const networkReady = condition(
      "NetworkReady",
      network.isReady,
      "NetworkPluginNotReady",
      network.isReady ? "" : network.why,
    );
    return {
      status: { conditions: [runtimeReady, networkReady] },
      info: verbose ? { config: JSON.stringify(effectiveConfig), hypervisor: JSON.stringify(health) } : {},
      runtimeHandlers: ["", ...handlers].map((name) => ({
        name,
        features: { recursiveReadOnlyMounts: false, userNamespaces: false },
      })),
      features: { supplementalGroupsPolicy: false, userNamespacesHostNetwork: false },
    };
  };

function condition(type: string, isTrue: boolean, reason: string, message: string): RuntimeCondition {
  return { type, status: isTrue, reason: isTrue ? "" : reason, message };
}
