// What a kubelet asks of its runtime while nothing happens: relists, statuses, statistics, images, each at its own pace.

import { setTimeout as after } from "node:timers/promises";
import type { CriClient } from "./cri-client.ts";

export interface PollingOptions {
  /** Of a kubelet's life. */
  readonly seconds: number;
  /** The same calls without the pauses between them: for what does not come with time but with calls. */
  readonly isHurried?: true;
  readonly onSecond?: (second: number) => Promise<void> | void;
}

/** Each pod is looked at by itself about once a minute, a few of them every second. */
const SYNC_EVERY_SECONDS = 60;

/**
 * Paces of a kubelet's defaults: pod lifecycle events 1 s, runtime status 5 s, eviction's statistics 10 s, list of
 * images 30 s, garbage collection of containers 60 s.
 */
export async function pollAsKubelet(
  { runtime, image }: Pick<CriClient, "runtime" | "image">,
  { seconds, isHurried, onSecond }: PollingOptions,
  signal: AbortSignal,
): Promise<void> {
  const all = { filter: undefined };
  const relist = async () => {
    const [{ items }, { containers }] = [
      await runtime.listPodSandbox(all, signal),
      await runtime.listContainers(all, signal),
    ];
    return { podIds: items.map(({ id }) => id), containerIds: containers.map(({ id }) => id) };
  };
  const statistics = async (): Promise<void> => {
    await runtime.listPodSandboxStats(all, signal);
    await runtime.listContainerStats(all, signal);
    await image.imageFsInfo({}, signal);
  };
  const startedMs = performance.now();
  for (let second = 0; second < seconds; second += 1) {
    const isTime = (everySeconds: number): boolean => second % everySeconds === 0;
    const { podIds, containerIds } = await relist();
    const isTurn = (_id: string, index: number): boolean => (index + second) % SYNC_EVERY_SECONDS === 0;
    for (const podSandboxId of podIds.filter(isTurn))
      await runtime.podSandboxStatus({ podSandboxId, verbose: false }, signal);
    for (const containerId of containerIds.filter(isTurn))
      await runtime.containerStatus({ containerId, verbose: false }, signal);
    if (isTime(5)) await runtime.status({ verbose: false }, signal);
    if (isTime(10)) await statistics();
    if (isTime(30)) await image.listImages(all, signal);
    if (isTime(60)) await relist();
    await onSecond?.(second);
    const leftMs = startedMs + (second + 1) * 1_000 - performance.now();
    if (isHurried === undefined && leftMs > 0) await after(leftMs, undefined, { signal });
  }
}
