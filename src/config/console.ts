// Settings of the console files that become container logs.

import { z } from "zod";
import { bytes } from "./field.ts";

export const consoleSection = z
  .strictObject({
    backlogCapBytes: bytes()
      .prefault("128Mi")
      .describe("Bytes that a console may be ahead of its log; what is older is dropped, with a marker line"),
    replayBytes: bytes()
      .prefault("1Mi")
      .describe("Newest bytes of a console that stay on disk, for whoever looks later"),
  })
  .prefault({});
