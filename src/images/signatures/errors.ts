// Why an image is not trusted, in our words.

import { VmletError } from "../../model/failure.ts";

/** @param why Which setting, what was found, and what to do. */
export function untrusted(image: string, why: string): VmletError {
  return new VmletError({ code: "IMAGE_UNTRUSTED", image }, `image ${image}: ${why}`);
}
