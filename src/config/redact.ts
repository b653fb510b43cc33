// The configuration as it may be logged and shown: addresses lose passwords and signatures.

import type { Config } from "./schema.ts";

const HIDDEN = "REDACTED";

/** A copy in which every URL has its user, password and query values replaced. */
export function redact(config: Config): unknown {
  return hide(config);
}

function hide(value: unknown): unknown {
  if (typeof value === "string") return redactUrl(value);
  if (Array.isArray(value)) return value.map(hide);
  if (typeof value !== "object" || value === null) return value;
  return Object.fromEntries(Object.entries(value).map(([key, item]) => [key, hide(item)]));
}

/** Not a URL, or one without secrets: unchanged. One that cannot be parsed is hidden as a whole. */
function redactUrl(text: string): string {
  if (!/^[a-z][a-z0-9+.-]*:\/\//i.test(text) || !/[@?]/.test(text)) return text;
  if (!URL.canParse(text)) return HIDDEN;
  const url = new URL(text);
  if (url.username !== "") url.username = HIDDEN;
  if (url.password !== "") url.password = HIDDEN;
  for (const key of new Set(url.searchParams.keys())) url.searchParams.set(key, HIDDEN);
  return url.href;
}
