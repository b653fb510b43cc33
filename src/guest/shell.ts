// Text that a POSIX sh reads as exactly the bytes that were meant.

import { invalid } from "../model/failure.ts";
import type { EnvVar } from "../model/machine.ts";

const NAME = /^[A-Za-z_][A-Za-z0-9_]*$/;

/** Assigning one of these ends a shell that is bash in POSIX mode. */
const READ_ONLY_IN_BASH: ReadonlySet<string> = new Set([
  "UID",
  "EUID",
  "PPID",
  "BASHOPTS",
  "SHELLOPTS",
  "BASH_VERSINFO",
]);

/** One word of sh. Latin-1 in, Latin-1 out, or any text without NUL: only `'` is looked at. */
export function shellQuote(text: string): string {
  return `'${text.replaceAll("'", `'\\''`)}'`;
}

/** True when sh can hold a variable of this name without complaint. */
export function isShellName(name: string): boolean {
  return NAME.test(name) && !READ_ONLY_IN_BASH.has(name);
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

/** One sentence for each variable that no shell can hold and that the guest therefore does not get. */
export function environmentNotices(env: readonly EnvVar[]): readonly string[] {
  return env
    .filter(({ name }) => !isShellName(name))
    .map(
      ({ name }) => `env ${JSON.stringify(name.slice(0, 80))} is not a shell variable's name: not given to the guest`,
    );
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
