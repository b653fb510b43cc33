// Settings of `vmlet router`, which stands between the kubelet and two runtimes.

import { z } from "zod";
import { absolutePath, limitMs, listenAddress } from "./field.ts";

export const routerSection = z
  .strictObject({
    socketPath: absolutePath()
      .default("/run/vmlet/router.sock")
      .describe("Unix socket that the kubelet's `containerRuntimeEndpoint` names"),
    containersSocketPath: absolutePath()
      .default("/run/containerd/containerd.sock")
      .describe("Where the node's containers are run: containerd's or CRI-O's socket; machines are at `socketPath`"),
    stateFolderPath: absolutePath()
      .default("/var/lib/vmlet-router")
      .describe("What both runtimes were last known to have, for restarts while one of them is down"),
    handlers: z
      .array(
        z
          .string()
          .max(253)
          .regex(/^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$/, "must be a RuntimeClass handler: lower case, digits, - and ."),
      )
      .min(1)
      .max(16)
      .default(["vmlet"])
      .describe("Handlers of the RuntimeClasses whose pods are machines; the daemon takes these and the empty one"),
    imagePrefixes: z
      .array(z.string().min(1).max(512))
      .max(100)
      .default([])
      .describe("More beginnings of names of machines' images, beside `vmlet.dev/` and `images.registry.prefixes`"),
    answerWithinMs: limitMs()
      .default(1_000)
      .describe("Milliseconds that a list waits for the machines' runtime before it is answered from memory"),
    metrics: z
      .strictObject({
        listen: listenAddress()
          .prefault("127.0.0.1:10281")
          .describe("Where the router's `/metrics`, `/healthz` and `/readyz` are served, or `off`"),
      })
      .prefault({}),
  })
  .prefault({});

export type RouterConfig = Readonly<z.output<typeof routerSection>>;
