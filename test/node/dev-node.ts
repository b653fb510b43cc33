// The dev node: one of a machine, in the background, for people. `make node-up` and `make demo` use it.

import { join } from "node:path";
import { layoutOf, type NodeLayout, type NodeOptions } from "./layout.ts";

/** NODE_NAME, NODE_SUBNET and NODE_IMAGE_PORT put another one beside it. */
export function devNode(): { options: NodeOptions; layout: NodeLayout; imageServerPidPath: string } {
  const options: NodeOptions = {
    name: process.env["NODE_NAME"] ?? "dev",
    subnet: process.env["NODE_SUBNET"] ?? "10.87.0",
    imagePort: Number(process.env["NODE_IMAGE_PORT"] ?? 18080),
  };
  const layout = layoutOf(options);
  return { options, layout, imageServerPidPath: join(layout.runFolderPath, "image-server.pid") };
}
