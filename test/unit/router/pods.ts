// Pods and containers through the router, as a kubelet makes them.

import type { Caller } from "./site.ts";

export const CODE = { DEADLINE_EXCEEDED: 4, NOT_FOUND: 5, UNIMPLEMENTED: 12, UNAVAILABLE: 14 };
export const MACHINE_IMAGE = "vmlet.dev/oci/registry/debian";

export interface Pods {
  /** Its id. */
  readonly runPod: (runtimeHandler: "" | "vmlet", name?: string) => Promise<string>;
  /** Its id, once it is started. */
  readonly runContainer: (podSandboxId: string, image: string) => Promise<string>;
  /** Ids. */
  readonly listPods: (filter?: object) => Promise<string[]>;
}

export const idsOf = (items: readonly { id: string }[]): string[] => items.map(({ id }) => id);

export const podsBy = (call: Caller["call"]): Pods => ({
  runPod: async (runtimeHandler, name = runtimeHandler) => {
    const metadata = { name, uid: `uid-${name}`, namespace: "default", attempt: 0 };
    const config = { metadata, labels: { app: name } };
    return (await call("RunPodSandbox", { config, runtimeHandler })).podSandboxId;
  },
  runContainer: async (podSandboxId, image) => {
    await call("PullImage", { image: { image } });
    const config = { metadata: { name: "main", attempt: 0 }, image: { image } };
    const { containerId } = await call("CreateContainer", { podSandboxId, config });
    await call("StartContainer", { containerId });
    return containerId;
  },
  listPods: async (filter = {}) => idsOf((await call("ListPodSandbox", filter)).items),
});
