// Which of a container's variables a shell can hold: a guest gets its environment by a shell.

import type { EnvVar } from "./machine.ts";

const NAME = /^[A-Za-z_][A-Za-z0-9_]*$/;

/** Assigning one of these ends a shell that is bash in POSIX mode; the last, unless it is a number, one that is dash. */
const SHELLS_OWN: ReadonlySet<string> = new Set([
  "UID",
  "EUID",
  "PPID",
  "BASHOPTS",
  "SHELLOPTS",
  "BASH_VERSINFO",
  "OPTIND",
]);

/** True when sh can hold a variable of this name without complaint. */
export function isShellName(name: string): boolean {
  return NAME.test(name) && !SHELLS_OWN.has(name);
}

/** One sentence for each variable that no shell can hold and that the guest therefore does not get. */
export function environmentNotices(env: readonly EnvVar[]): readonly string[] {
  return env
    .filter(({ name }) => !isShellName(name))
    .map(({ name }) => `env ${JSON.stringify(name.slice(0, 80))} is no name that a shell can hold: not in the guest`);
}
