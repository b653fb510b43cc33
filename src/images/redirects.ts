// Follows the redirects of one download: never from https to http, never with credentials, never inwards.

import type { Dispatcher } from "undici";
import { refused } from "./http-errors.ts";
import type { RedirectGuard } from "./private-address.ts";

export interface Answered {
  readonly answer: Dispatcher.ResponseData;
  /** That gave it. */
  readonly url: URL;
}

export interface RedirectRules {
  readonly maxRedirects: number;
  /** Absent: redirects may lead anywhere. */
  readonly guard: RedirectGuard | undefined;
}

const REDIRECTS: ReadonlySet<number> = new Set([301, 302, 303, 307, 308]);

/**
 * The first answer that is no redirect.
 * @throws IMAGE_SOURCE_REFUSED, and what `ask` throws
 */
export async function follow(
  first: URL,
  { maxRedirects, guard }: RedirectRules,
  ask: (url: URL) => Promise<Dispatcher.ResponseData>,
): Promise<Answered> {
  let url = first;
  for (let redirects = 0; ; redirects++) {
    const answer = await ask(url);
    if (!REDIRECTS.has(answer.statusCode)) return { answer, url };
    answer.body.destroy();
    if (redirects >= maxRedirects) {
      throw refused(first, answer.statusCode, `redirects more than ${maxRedirects} times (maxRedirects)`);
    }
    url = targetOf(answer, url);
    guard?.check(url);
  }
}

function targetOf({ headers, statusCode }: Dispatcher.ResponseData, from: URL): URL {
  const { location } = headers;
  if (typeof location !== "string" || location === "" || !URL.canParse(location, from)) {
    throw refused(from, statusCode, "redirects to nowhere");
  }
  const to = new URL(location, from);
  if (to.protocol !== "https:" && to.protocol !== "http:") {
    throw refused(from, statusCode, "redirects to something that is not http(s)");
  }
  if (from.protocol === "https:" && to.protocol === "http:") {
    throw refused(from, statusCode, "redirects from https to http, where anyone on the way may look and change");
  }
  if (to.username !== "" || to.password !== "") throw refused(from, statusCode, "redirects with credentials");
  return to;
}
