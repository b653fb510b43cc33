// The kinds of value that a setting can have, each with its check and its words.

import { isIP } from "node:net";
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

/** `127.0.0.1:80` or `[::1]:80`, no names: what a name means may change. `off`: nowhere. */
export const listenAddress = () =>
  z
    .string()
    .max(64)
    .transform((text, context): "off" | { readonly host: string; readonly port: number } => {
      if (text === "off") return text;
      const [, v6, v4, digits] = /^(?:\[([^\]]+)\]|([^:]+)):(\d{1,5})$/.exec(text) ?? [];
      const [host, port] = [v6 ?? v4 ?? "", Number(digits)];
      if (isIP(host) === (v6 === undefined ? 4 : 6) && port <= 65_535) return { host, port };
      context.addIssue({ code: "custom", message: "must be `off`, `<ip>:<port>` or `[<ipv6>]:<port>`" });
      return z.NEVER;
    });

/** A time limit; setTimeout cannot count further than 2^31 - 1 ms. */
export const limitMs = () => z.int().min(1).max(2_147_483_647);
