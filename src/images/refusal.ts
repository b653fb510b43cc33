// How an image is refused.

import { VmletError } from "../model/failure.ts";

/** @param finding Completes "the file …". */
export function refusal(image: string, finding: string): VmletError {
  return new VmletError({ code: "IMAGE_REFUSED", image, finding }, `image ${image}: the file ${finding}`);
}

export const tooLarge = (maxImageBytes: number): string => `is larger than ${maxImageBytes} bytes (maxImageBytes)`;
