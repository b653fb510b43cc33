// What tests of the router as a whole do: pods and containers through it, as a kubelet makes them.

import { afterEach, beforeEach } from "vitest";
import { poll } from "../../node/poll.ts";
import { type Caller, Site } from "./site.ts";

export const CODE = { DEADLINE_EXCEEDED: 4, NOT_FOUND: 5, UNIMPLEMENTED: 12, UNAVAILABLE: 14 };
export const MACHINE_IMAGE = "vmlet.dev/oci/registry/debian";

interface Pods {
  /** Its id. */
  readonly runPod: (runtimeHandler: "" | "vmlet", name?: string) => Promise<string>;
  /** Its id, once it is started. */
  readonly runContainer: (podSandboxId: string, image: string) => Promise<string>;
  /** Ids. */
  readonly listPods: (filter?: object) => Promise<string[]>;
}

export const idsOf = (items: readonly { id: string }[]): string[] => items.map(({ id }) => id);

const podsBy = (call: Caller["call"]): Pods => ({
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

/** A new site for each test of the file that calls this; what it returns is of the test that runs. */
export function siteOfEachTest() {
  let site: Site;
  let client: Caller;
  beforeEach(async () => {
    site = await Site.open();
    client = site.client();
  });
  afterEach(async () => await site[Symbol.asyncDispose]());
  const call: Caller["call"] = async (...asked) => await client.call(...asked);
  return {
    call,
    ...podsBy(call),
    get site(): Site {
      return site;
    },
    get client(): Caller {
      return client;
    },
  };
}

export const until = async (what: string, ask: () => unknown): Promise<unknown> =>
  await poll(() => ask() || undefined, { what, limitMs: 5_000, everyMs: 10 }, AbortSignal.timeout(10_000));
