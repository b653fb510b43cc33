// What a kubelet asks of its runtime while nothing happens: relists, statuses, statistics, images, each at its own pace.

import { setTimeout as after } from "node:timers/promises";
import { ContainerState, PodSandboxState } from "../../src/gen/runtime.ts";
import type { CriClient } from "./cri-client.ts";

export interface PollingOptions {
  /** Of a kubelet's life. */
  readonly seconds: number;
  /** The same calls without the pauses between them: for what does not come with time but with calls. */
  readonly isHurried?: true;
  readonly onSecond?: (second: number) => Promise<void> | void;
}

/**
 * A kubelet's questions by its defaults: pod lifecycle events every second, what is ready and runs every 2 for its
 * housekeeping, runtime status 5, statistics for eviction 10 (of containers, or of pods where it is told to take those:
 * here both), each running container's status for the rotation of its log 10, version 10, list of images 30, garbage
 * collection 60.
 */
export async function pollAsKubelet(
  { runtime, image }: Pick<CriClient, "runtime" | "image">,
  { seconds, isHurried, onSecond }: PollingOptions,
  signal: AbortSignal,
): Promise<void> {
  const all = { filter: undefined };
  const relist = async (): Promise<void> => {
    await runtime.listPodSandbox(all, signal);
    await runtime.listContainers(all, signal);
  };
  const housekeeping = async (): Promise<void> => {
    const [ready, running] = [PodSandboxState.SANDBOX_READY, ContainerState.CONTAINER_RUNNING];
    const ofPods = { id: "", state: { state: ready }, labelSelector: {} };
    const ofContainers = { id: "", state: { state: running }, podSandboxId: "", labelSelector: {} };
    await runtime.listPodSandbox({ filter: ofPods }, signal);
    await runtime.listContainers({ filter: ofContainers }, signal);
  };
  const rotateLogs = async (): Promise<void> => {
    const { containers } = await runtime.listContainers(all, signal);
    for (const { id: containerId, state } of containers)
      if (state === ContainerState.CONTAINER_RUNNING)
        await runtime.containerStatus({ containerId, verbose: false }, signal);
  };
  const statistics = async (): Promise<void> => {
    await relist();
    await runtime.listPodSandboxStats(all, signal);
    await runtime.listContainerStats(all, signal);
    await image.imageFsInfo({}, signal);
  };
  const startedMs = performance.now();
  for (let second = 0; second < seconds; second += 1) {
    const isTime = (everySeconds: number): boolean => second % everySeconds === 0;
    await relist();
    if (isTime(2)) await housekeeping();
    if (isTime(5)) await runtime.status({ verbose: false }, signal);
    if (isTime(10)) await statistics();
    if (isTime(10)) await rotateLogs();
    if (isTime(10)) await runtime.version({ version: "" }, signal);
    if (isTime(30)) await image.listImages(all, signal);
    if (isTime(60)) await relist();
    await onSecond?.(second);
    const leftMs = startedMs + (second + 1) * 1_000 - performance.now();
    if (isHurried === undefined && leftMs > 0) await after(leftMs, undefined, { signal });
  }
}
