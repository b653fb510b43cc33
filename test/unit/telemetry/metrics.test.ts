import { expect, test } from "vitest";
import { type Figures, Metrics } from "../../../src/telemetry/metrics.ts";

const figures: Figures = {
  census: () => ({ pods: { ready: 2, stopped: 0 }, machines: { running: 1 } }),
  images: () => ["one", "two"],
  pulls: () => [
    { phase: "receiving", receivedBytes: 10, totalBytes: 100 },
    { phase: "waiting", receivedBytes: 5 },
  ],
  imageStoreBytes: async () => 4096,
};
const scrape = async (metrics: Metrics): Promise<string[]> => (await metrics.registry.metrics()).split("\n");

test("a call is in flight until it ends, and then counted by its method and code", async () => {
  const metrics = new Metrics("1.2.3");
  const ended = metrics.rpcBegan("PullImage");
  metrics.rpcBegan("PullImage")("NOT_FOUND");
  const during = await scrape(metrics);
  expect(during).toContain('vmlet_rpcs_in_flight{method="PullImage"} 1');
  expect(during).toContain('vmlet_rpc_duration_seconds_count{method="PullImage",code="NOT_FOUND"} 1');
  ended("OK");
  const after = await scrape(metrics);
  expect(after).toContain('vmlet_rpcs_in_flight{method="PullImage"} 0');
  expect(after).toContain('vmlet_rpc_duration_seconds_count{method="PullImage",code="OK"} 1');
});

test("what is asked for at a scrape is as it is then, states with nobody in them included", async () => {
  const metrics = new Metrics("1.2.3");
  expect(await scrape(metrics)).toContain("vmlet_images Nan");
  metrics.ask(figures);
  const lines = await scrape(metrics);
  for (const line of [
    'vmlet_build_info{version="1.2.3"} 1',
    'vmlet_pods{state="ready"} 2',
    'vmlet_pods{state="stopped"} 0',
    'vmlet_machines{state="running"} 1',
    "vmlet_images 2",
    "vmlet_image_pulls_under_way 2",
    "vmlet_image_pulls_waiting 1",
    "vmlet_image_pulls_under_way_received_bytes 15",
    "vmlet_image_pulls_under_way_expected_bytes 100",
    "vmlet_image_store_bytes 4096",
    "vmlet_libvirt_reconnects_total 0",
  ])
    expect(lines).toContain(line);
});

test("a figure that cannot be had costs no other", async () => {
  const metrics = new Metrics("1.2.3");
  const imageStoreBytes = async (): Promise<number> => Promise.reject(new Error("EIO"));
  metrics.ask({ ...figures, imageStoreBytes });
  const lines = await scrape(metrics);
  expect(lines).toContain("vmlet_image_store_bytes Nan");
  expect(lines).toContain("vmlet_images 2");
});

test("a blocked event loop is seen from the first scrape on", async () => {
  const metrics = new Metrics("1.2.3");
  await scrape(metrics);
  const sumOf = async (): Promise<number> =>
    Number(
      (await scrape(metrics)).find((line) => line.startsWith("vmlet_event_loop_delay_seconds_sum"))?.split(" ")[1],
    );
  const untilMs = performance.now() + 300;
  while (performance.now() < untilMs); // blocks
  await expect.poll(sumOf).toBeGreaterThan(0.15);
});

test("names have a unit, and labels are few", async () => {
  for (const { name, help } of new Metrics("1").registry.getMetricsAsArray()) {
    expect(name).toMatch(/^(vmlet|process)_[a-z_]+$/);
    expect(help.length, name).toBeGreaterThan(5);
  }
});
