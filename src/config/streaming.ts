// Settings of the streaming process.

import { z } from "zod";
import { absolutePath, limitMs, listenAddress } from "./field.ts";

export const streamingSection = z
  .strictObject({
    listen: listenAddress()
      .transform((listen, context) => {
        if (listen !== "off") return listen;
        context.addIssue({ code: "custom", message: "cannot be off: exec, attach and port-forward need it" });
        return z.NEVER;
      })
      .prefault("127.0.0.1:0")
      .describe(
        "Where clients of exec, attach and port-forward are served: `<ip>:<port>`, port 0 for any; the kubelet is on the node",
      ),
    certificatePath: absolutePath()
      .optional()
      .describe("PEM file of a TLS certificate and its chain; absent: no TLS, which only a loopback address may do"),
    keyPath: absolutePath().optional().describe("PEM file of the certificate's key"),
    idleMs: limitMs()
      .default(4 * 60 * 60 * 1000)
      .describe("Milliseconds without a byte either way after which a stream ends; 4 h, as everywhere in Kubernetes"),
    creationMs: limitMs().default(30_000).describe("Milliseconds that a client may take to open its streams"),
  })
  .superRefine(({ listen, certificatePath, keyPath }, context) => {
    const problem = (path: string, message: string): void =>
      context.addIssue({ code: "custom", path: [path], message });
    if (certificatePath === undefined && keyPath !== undefined)
      problem("certificatePath", "is missing; it goes with keyPath");
    if (keyPath === undefined && certificatePath !== undefined)
      problem("keyPath", "is missing; it goes with certificatePath");
    if (certificatePath === undefined && !isLoopback(listen.host))
      problem(
        "certificatePath",
        `is missing: ${listen.host} is no loopback address, and consoles must not cross a network in the clear`,
      );
  })
  .prefault({});

function isLoopback(address: string): boolean {
  return address === "::1" || address.startsWith("127.");
}
