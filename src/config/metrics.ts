// Settings of the HTTP endpoint for Prometheus and for probes.

import { z } from "zod";
import { listenAddress } from "./field.ts";

export const metricsSection = z
  .strictObject({
    listen: listenAddress()
      .prefault("127.0.0.1:10280")
      .describe("Where `/metrics`, `/healthz` and `/readyz` are served: `<ip>:<port>`, port 0 for any, or `off`"),
  })
  .prefault({});
