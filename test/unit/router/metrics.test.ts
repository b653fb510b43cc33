import { expect, test } from "vitest";
import { RouterMetrics } from "../../../src/router/metrics.ts";

test("a call is counted by its method and gRPC's name of its code; what nobody knows has one label", async () => {
  const metrics = new RouterMetrics("0");
  metrics.callBegan("/runtime.v1.RuntimeService/Status")(0);
  metrics.callBegan("/runtime.v9.Other/Anything")(12_345);
  const text = await metrics.registry.metrics();
  expect(text).toContain('vmlet_router_call_duration_seconds_count{method="Status",code="OK"} 1');
  expect(text).toContain('vmlet_router_call_duration_seconds_count{method="other",code="UNKNOWN"} 1');
});
