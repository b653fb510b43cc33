// What the machines' files take on disk: many machines are thousands of files, so they are walked once in a while only.

import { isRecent } from "../lib/age.ts";
import { singleFlight } from "../lib/single-flight.ts";
import type { Clock } from "../ports/clock.ts";
import type { FilesystemUsage } from "../ports/image-store.ts";
import type { PodStore } from "../ports/pod-store.ts";

export interface DiskUsage extends FilesystemUsage {
  /** When they were walked. */
  readonly atMs: number;
}

/** A kubelet asks every ten seconds, shows the figure, and evicts by the disk's own. */
const FRESH_MS = 60_000;

/** Tells what was found last; asked for later than that, walks again. */
export function diskUsageOf({
  clock,
  store,
}: {
  readonly clock: Clock;
  readonly store: Pick<PodStore, "usage">;
}): () => Promise<DiskUsage> {
  let last: DiskUsage | undefined;
  const walk = singleFlight(async () => {
    const atMs = clock.nowMs();
    last = { atMs, ...(await store.usage()) };
    return last;
  });
  return async () => (last !== undefined && isRecent(last.atMs, clock.nowMs(), FRESH_MS) ? last : await walk());
}
