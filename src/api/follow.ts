// How far a pull is, again and again until it has ended.

import type { PullResponse } from "../gen/vmlet.ts";
import { sleepMs } from "../lib/backoff.ts";
import type { Image } from "../model/image.ts";
import type { ImageStore } from "../ports/image-store.ts";
import { imageOf, progressOf } from "./convert.ts";

/** Smooth enough for a bar, rare enough to cost nothing. */
const LOOK_EVERY_MS = 500;

/**
 * Ends as the pull does: with the image, or with what it throws.
 * @param end Of the pull; it heeds `signal` itself.
 */
export async function* follow(
  images: Pick<ImageStore, "pulls">,
  pullIdOf: () => string | undefined,
  end: Promise<Image>,
  signal: AbortSignal,
): AsyncGenerator<PullResponse, void, undefined> {
  end.catch(() => {}); // also where nobody comes back for the next piece
  for (;;) {
    const pull = images.pulls().find(({ pullId }) => pullId === pullIdOf());
    if (pull !== undefined) yield { progress: progressOf(pull) };
    const image = await Promise.race([end, sleepMs(LOOK_EVERY_MS, signal)]);
    if (image === undefined) continue;
    yield { image: imageOf(image) };
    return;
  }
}
