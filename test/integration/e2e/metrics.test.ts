// What a real daemon tells Prometheus and probes: that it lives, whether it can work, what it does.

import { expect, test } from "vitest";
import { PullImageRequest } from "../../../src/gen/runtime.ts";
import { getFrom, scrape } from "../../node/metrics.ts";
import { poll } from "../../node/poll.ts";
import { startTestNode } from "../../node/test-node.ts";
import { podConfigOf } from "./vm-pod.ts";

const suite = AbortSignal.timeout(240_000);

test("a scrape of a working daemon shows its calls, pods, images and itself", async () => {
  await using node = await startTestNode({}, suite);
  expect(await getFrom(node, "/healthz", suite)).toEqual({ status: 200, text: "ok\n" });
  await poll(
    async () => ((await getFrom(node, "/readyz", suite)).status === 200 ? true : undefined), // libvirtd asks QEMU for its version
    { what: "readiness", limitMs: 60_000 },
    suite,
  );

  await node.cri.image.pullImage(PullImageRequest.fromPartial({ image: { image: node.tinyImage } }), suite);
  await node.cri.runtime.runPodSandbox({ config: podConfigOf(node, "counted"), runtimeHandler: "vmlet" }, suite);
  await expect(
    node.cri.runtime.containerStatus({ containerId: "f".repeat(64), verbose: false }, suite),
  ).rejects.toMatchObject({ code: 5 });

  const metrics = await scrape(node, suite);
  const calls = (method: string, code: string): number | undefined =>
    metrics.get(`vmlet_rpc_duration_seconds_count{method="${method}",code="${code}"}`);
  expect(calls("PullImage", "OK")).toBe(1);
  expect(calls("RunPodSandbox", "OK")).toBe(1);
  expect(calls("ContainerStatus", "NOT_FOUND")).toBe(1);
  expect(metrics.get('vmlet_rpcs_in_flight{method="RunPodSandbox"}')).toBe(0);
  expect(metrics.get('vmlet_pods{state="ready"}')).toBe(1);
  expect(metrics.get('vmlet_machines{state="running"}')).toBe(0);
  expect(metrics.get("vmlet_images")).toBe(1);
  expect(metrics.get("vmlet_image_store_bytes")).toBeGreaterThan(1_000_000);
  expect(metrics.get('vmlet_image_pulls_ended_total{outcome="pulled"}')).toBe(1);
  expect(metrics.get("vmlet_image_received_bytes_total")).toBeGreaterThan(1_000_000);
  expect(metrics.get("vmlet_image_pulls_under_way")).toBe(0);
  expect(metrics.get("vmlet_libvirt_reconnects_total")).toBe(0);
  expect(metrics.get("process_resident_memory_bytes")).toBeGreaterThan(10_000_000);
  await poll(
    async () => ((await scrape(node, suite)).get("vmlet_event_loop_delay_seconds_count") ?? 0) > 0 || undefined,
    { what: "a sample of the event loop's delay", limitMs: 30_000 },
    suite,
  );
});

test("without libvirtd the daemon lives and is not ready, and says why", async () => {
  await using node = await startTestNode({ config: { libvirt: { socketPath: "/run/vmlet-nowhere" } } }, suite);
  expect((await getFrom(node, "/healthz", suite)).status).toBe(200);
  const { status, text } = await getFrom(node, "/readyz", suite);
  expect(status).toBe(503);
  expect(text).toMatch(/^libvirtd: .*\n$/);
});
