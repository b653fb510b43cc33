// What is wrong with what a registry serves, in our words.

import { VmletError } from "../../model/failure.ts";

/** @param finding What was found, and what would be taken. */
export function refusedContent(image: string, finding: string): VmletError {
  return new VmletError({ code: "IMAGE_REFUSED", image, finding }, `image ${image}: ${finding}`);
}

export function wrongDigest(image: string, what: string, wanted: string, found: string): VmletError {
  return new VmletError(
    { code: "IMAGE_DIGEST_MISMATCH", image, wanted, found },
    `image ${image}: ${what} hashes to ${found}, not to ${wanted}; the registry, or someone on the way, changed it`,
  );
}

/** Text from a registry, fit to be shown: short, on one line. */
export function shown(text: string): string {
  const plain = text.replace(/[^\x20-\x7e]/g, "?");
  return plain.length > 100 ? `${plain.slice(0, 100)}…` : plain;
}

/** A failure that another endpoint, or another credential, may not have. */
export const isOfSource = (error: unknown): error is VmletError =>
  error instanceof VmletError &&
  ["IMAGE_SOURCE_REFUSED", "IMAGE_SOURCE_UNAVAILABLE", "IMAGE_NOT_FOUND", "IMAGE_DIGEST_MISMATCH"].includes(
    error.failure.code,
  );
