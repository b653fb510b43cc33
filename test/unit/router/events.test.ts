// The events of both runtimes on one stream, while they come and go.

import { afterEach, beforeEach, expect, test } from "vitest";
import { type ContainerEventResponse, ContainerEventType } from "../../../src/gen/runtime.ts";
import { poll } from "../../node/poll.ts";
import { Site } from "./site.ts";

let site: Site;
beforeEach(async () => {
  site = await Site.open();
});
afterEach(async () => await site[Symbol.asyncDispose]());

const event = (containerId: string): ContainerEventResponse => ({
  containerId,
  containerEventType: ContainerEventType.CONTAINER_STARTED_EVENT,
  createdAt: 1n,
  podSandboxStatus: undefined,
  containersStatuses: [],
});
const until = async (what: string, ask: () => unknown): Promise<unknown> =>
  await poll(() => ask() || undefined, { what, limitMs: 10_000, everyMs: 10 }, AbortSignal.timeout(20_000));

test("the machines' are heard soon after each restart of their runtime, however many there were", async () => {
  const events = site.client().runtime.getContainerEvents({});
  const seen: string[] = [];
  events.on("data", ({ containerId }) => seen.push(containerId)).on("error", () => {});
  let waitedMs = 0;
  for (let times = 0; times < 7; times++) {
    await until("it is listened to", () => site.machines.listeners === 1);
    await new Promise((resolve) => setTimeout(resolve, 150)); // it lasted longer than the pause before it
    await site.machines.kill();
    await site.machines.start();
    const startedAtMs = performance.now();
    await until("it is listened to again", () => site.machines.listeners === 1);
    waitedMs = performance.now() - startedAtMs;
  }
  expect(waitedMs).toBeLessThan(1_000);
  site.machines.emit(event("vm"));
  site.containers.emit(event("web"));
  await until("both events", () => seen.length === 2);
  events.cancel();
});
