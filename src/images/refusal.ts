// How an image is refused.

import { VmletError } from "../model/failure.ts";
import type { ImageDigest } from "../model/ids.ts";

/** @param finding Completes "the file …". */
export function refusal(image: string, finding: string): VmletError {
  return new VmletError({ code: "IMAGE_REFUSED", image, finding }, `image ${image}: the file ${finding}`);
}

export const tooLarge = (maxImageBytes: number): string => `is larger than ${maxImageBytes} bytes (maxImageBytes)`;

export function mismatch(image: string, wanted: ImageDigest, found: ImageDigest): VmletError {
  return new VmletError(
    { code: "IMAGE_DIGEST_MISMATCH", image, wanted, found },
    `image ${image}: the bytes hash to ${found}, not to ${wanted}; the source has changed or lies`,
  );
}
