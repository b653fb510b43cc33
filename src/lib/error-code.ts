// What the system said went wrong, of any thrown value.

/** `ENOENT` and the like; undefined for an error without such a code and for what is no error. */
export function errorCodeOf(error: unknown): string | undefined {
  return error instanceof Error && "code" in error && typeof error.code === "string" ? error.code : undefined;
}
