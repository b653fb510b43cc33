// One request and its answer, with the time limits of a profile and failures in our words. Redirects are answers here.

import { type Dispatcher, request } from "undici";
import { refusingBusyWork } from "./busy-work.ts";
import { DripWatch } from "./drip-watch.ts";
import { unavailable, unavailableBy } from "./http-errors.ts";
import type { TransportProfile } from "./options.ts";

/** Whoever gets one reads or destroys its body. */
export type Answer = Dispatcher.ResponseData;

export interface Question {
  readonly dispatcher: Dispatcher;
  readonly profile: TransportProfile;
  readonly method?: "GET" | "POST";
  readonly headers: Readonly<Record<string, string | string[]>>;
  readonly body?: string;
}

/** @throws IMAGE_SOURCE_UNAVAILABLE IMAGE_SOURCE_REFUSED (by the guard of `dispatcher`), or the signal's reason. */
export async function send(url: URL, question: Question, signal: AbortSignal): Promise<Answer> {
  const { dispatcher, profile, method = "GET", headers, body } = question;
  try {
    const answer = await request(url, {
      dispatcher: dispatcher.compose(refusingBusyWork(url)),
      signal,
      method,
      headersTimeout: profile.headersTimeoutMs,
      bodyTimeout: profile.idleTimeoutMs,
      // A digest is that of the bytes themselves.
      headers: { "user-agent": "vmlet", "accept-encoding": "identity", ...headers },
      ...(body === undefined ? {} : { body }),
    });
    answer.body.on("error", () => {}); // whoever reads it gets the error; nobody may be reading
    return answer;
  } catch (error) {
    signal.throwIfAborted();
    throw unavailableBy(error, url);
  }
}

/** Empty when there is none; several as one list. */
export function headerOf(answer: Answer, name: string): string {
  const value = answer.headers[name];
  return typeof value === "string" ? value : (value ?? []).join(", ");
}

export const hasIdentityEncoding = (answer: Answer): boolean =>
  ["", "identity"].includes(headerOf(answer, "content-encoding"));

export interface Expected {
  readonly url: URL;
  readonly profile: TransportProfile;
  /** Of this body. */
  readonly lengthBytes?: number | undefined;
}

/** The body; whoever stops reading closes it. @throws IMAGE_SOURCE_UNAVAILABLE when it breaks, stands still or drips. */
export async function* chunksOf(
  answer: Answer,
  { url, profile, lengthBytes }: Expected,
  signal: AbortSignal,
): AsyncGenerator<Uint8Array> {
  const drip = new DripWatch(profile);
  let received = 0;
  try {
    for await (const chunk of answer.body) {
      if (!(chunk instanceof Uint8Array)) throw new TypeError("a body chunk is not bytes");
      received += chunk.length;
      if (drip.isTooSlow(chunk.length)) {
        throw unavailable(url, `sends less than ${profile.idleMinBytes} bytes in idleTimeoutMs (idleMinBytes)`);
      }
      yield chunk;
      drip.resume();
    }
  } catch (error) {
    signal.throwIfAborted();
    throw unavailableBy(error, url);
  }
  if (lengthBytes !== undefined && received < lengthBytes) {
    throw unavailable(url, `was cut off after ${received} of ${lengthBytes} bytes; try again`);
  }
}
