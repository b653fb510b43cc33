// Text that a POSIX sh reads as exactly the bytes that were meant.

import { isShellName } from "../model/environment.ts";
import { invalid } from "../model/failure.ts";
import type { EnvVar } from "../model/machine.ts";

/** One word of sh. Latin-1 in, Latin-1 out, or any text without NUL: only `'` is looked at. */
export function shellQuote(text: string): string {
  return `'${text.replaceAll("'", `'\\''`)}'`;
}

/**
 * The content of `/etc/vmlet/environment`: values are any bytes but NUL.
 * @throws SPEC_INVALID for a value with a NUL
 */
export function environmentFile(env: readonly EnvVar[]): Buffer {
  const lines = env
    .filter(({ name }) => isShellName(name))
    .map(({ name, valueBase64 }) => `${name}=${shellQuote(withoutNul(`env[${name}]`, bytesOf(valueBase64)))}\n`);
  return Buffer.from(lines.join(""), "latin1");
}

/** `text` itself. @throws SPEC_INVALID naming `field` when no command line or file of sh can carry it */
export function withoutNul(field: string, text: string): string {
  if (text.includes("\0")) throw invalid(field, "has a NUL character, which no process can be given");
  return text;
}

/** Bytes as Latin-1, so that they pass through string functions unharmed. */
function bytesOf(base64: string): string {
  return Buffer.from(base64, "base64").toString("latin1");
}
