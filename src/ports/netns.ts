import type { PodId } from "../model/ids.ts";

/**
 * Network namespaces of pods, pinned under `/run/netns`. Implemented by `src/kernel/`; faked in `test/fakes/netns.ts`.
 * Only names starting with `vmlet-` are ever created, listed or removed.
 */
export interface Netns {
  /** The path is a pure function of the id. */
  pathOf(podId: PodId): string;
  /** There already: no change. Loopback is up afterwards. */
  create(podId: PodId, signal: AbortSignal): Promise<void>;
  /** Not there: no change. */
  remove(podId: PodId, signal: AbortSignal): Promise<void>;
  exists(podId: PodId): Promise<boolean>;
}
