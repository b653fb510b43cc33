// Pods of any runtime, gone again.

import type { CriClient } from "../test/node/cri-client.ts";
import { inLanes } from "./lanes.ts";

export async function removePods(
  { runtime }: CriClient,
  podIds: readonly string[],
  signal: AbortSignal,
): Promise<void> {
  await inLanes(podIds, async (podSandboxId) => {
    await runtime.stopPodSandbox({ podSandboxId }, signal);
    await runtime.removePodSandbox({ podSandboxId }, signal);
  });
}
