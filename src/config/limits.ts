// Limits that belong to no single part.

import { z } from "zod";
import { limitMs } from "./field.ts";

export const limitsSection = z
  .strictObject({
    rpcMs: limitMs()
      .default(110_000)
      .describe("Milliseconds that a call of the kubelet may take, pulls apart; its own limit is two minutes"),
    undoMs: limitMs().default(30_000).describe("Milliseconds that one step of an undo may take"),
  })
  .prefault({});
