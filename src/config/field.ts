// The kinds of value that a setting can have, each with its check and its words.

import { z } from "zod";
import { parseBytes } from "../model/quantity.ts";

/** `/run/vmlet/vmlet.sock`: absolute, no NUL. */
export const absolutePath = () =>
  z
    .string()
    .regex(/^\/[^\0]*$/, "must be an absolute path")
    .max(4096);

/** A whole number of bytes, or a Kubernetes quantity such as `512Mi`. The default is written as a quantity. */
export const bytes = () =>
  z.union([z.string().max(40), z.number()]).transform((value, context): number => {
    const count = typeof value === "number" ? value : parseBytes(value);
    if (count !== undefined && Number.isSafeInteger(count) && count >= 0) return count;
    context.addIssue({ code: "custom", message: "must be a whole number of bytes or a quantity such as 512Mi" });
    return z.NEVER;
  });

/** A time limit; setTimeout cannot count further than 2^31 - 1 ms. */
export const limitMs = () => z.int().min(1).max(2_147_483_647);
